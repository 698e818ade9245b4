"""projects/reproduce: rows -> runs -> tables, against figures worked out by hand."""

import json
import shlex
import statistics
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from engine_runs import CONFIGS, REPOSITORY, kept_logging

PROJECT = REPOSITORY / "projects" / "reproduce"
sys.path.insert(0, str(PROJECT))

import figures  # noqa: E402
import noise  # noqa: E402
import paired  # noqa: E402
import plan  # noqa: E402
import render  # noqa: E402
import run as command  # noqa: E402
import runs  # noqa: E402
import significance  # noqa: E402
import study  # noqa: E402

from wend.cli.train import make_parser  # noqa: E402
from wend.datasets.catalog import DataSets  # noqa: E402
from wend.datasets.toy import ToyConfig  # noqa: E402
from wend.errors import InputError  # noqa: E402
from wend.evaluation.coco_results import detections_to_coco  # noqa: E402
from wend.structures.box_table import BoxTable  # noqa: E402
from wend.structures.boxes import paired_iou  # noqa: E402

TABLES = yaml.safe_load((PROJECT / "tables.yaml").read_text())
TOY = yaml.safe_load((PROJECT / "toy.yaml").read_text())
FASTER_RCNN = "Faster R-CNN + WE, DenseNet161"
STUDIES = yaml.safe_load((PROJECT / "studies.yaml").read_text())
# torchvision has all detectors but CLN: enough for these tests on every machine
ENGINE = "torchvision"


def row(config="CUB/fcos_R50.yaml", label="FCOS", **more):
    fields = {"backbone": "ResNet50", "data": "CUB", "paper": {"gt_known_loc": 94.24}}
    return plan.Row(label, config_file=CONFIGS / config, **{**fields, **more})


def planned(rows, tmp_path, seeds=(0, 1)):
    return plan.plan_runs(rows, seeds, tmp_path, engine=ENGINE)


def finish(run, values, seconds=10.0):
    """Leave what a finished run leaves."""
    metrics = {name: {"gt_known_loc": value} for name, value in values.items()}
    folder = run.folder / "inference" / run.test_set
    folder.mkdir(parents=True)
    (folder / "metrics.json").write_text(json.dumps(metrics))
    note = {"key": run.key, "seconds": seconds}
    (run.folder / runs.FINISHED).write_text(json.dumps(note))


# ---- the paper's tables as data ----


def test_every_config_of_the_tables_exists_and_each_has_a_figure_of_the_paper():
    count = 0
    for number in TABLES["tables"]:
        for entry in plan.table_rows(TABLES, number, plan.DATA):
            assert entry.config_file is None or entry.config_file.is_file()
            assert bool(entry.paper) == ("(control)" not in entry.label)
            count += bool(entry.paper)
    # 24 + 6 + 7 + 36 + 20 + 10 + 7 + 5 + 6 + 3 + 5 rows of tables 2, 3, 4, 5, ..., 12; of the 19
    # methods of table 5 one has no figure on CUB and one none on ImageNet
    assert count == 129
    assert set(TABLES["tables"]) == set(range(2, 13))


def test_published_figures_are_those_of_the_paper():
    entries = {entry.label: entry for entry in plan.table_rows(TABLES, 2, ["CUB"])}
    # facts.md: CLN + WE 84.15 / 93.98 94.25 / 95.91 96.19
    assert list(entries["CLN + WE"].paper.values()) == [84.15, 93.98, 94.25, 95.91, 96.19]
    assert entries["C2AM (SCR)"].paper == {
        **{"top1_loc": 81.28, "top5_loc": 90.69, "gt_known_loc": 92.48}
    }
    # facts.md: the first row of table 7, which is no training
    first = [plan.table_rows(TABLES, 7, [data])[0] for data in plan.DATA]
    assert [entry.paper["gt_known_loc"] for entry in first] == [89.90, 66.51]
    assert {entry.config_file for entry in first} == {None}
    assert [plan.plan_runs(first, [0], Path())[entry] for entry in first] == [[], []]


def test_table_5_has_the_figures_of_its_lines_and_wends_are_those_of_table_2():
    rows = [
        (entry.label, entry.backbone.split(" / ")[0], *entry.paper.values())
        for entry in plan.table_rows(TABLES, 5, ["CUB"])
    ]
    assert ("PPD", "ViT-S", 78.8, 97.0) in rows
    assert ("ADL", "VGG16", 52.36) in rows
    assert ("SLT-Net", "DenseNet161", 75.8, 93.4) in rows
    assert len(rows) == 18
    assert len(plan.table_rows(TABLES, 5, ["ImageNet"])) == 18
    published = {
        (entry.label, entry.backbone, *entry.paper.values())
        for entry in plan.table_rows(TABLES, 2, plan.DATA)
    }
    for data in plan.DATA:
        for entry in plan.table_rows(TABLES, 5, [data]):
            label = {"WEND": "Faster R-CNN + WE", "C2AM": "C2AM (SCR)"}.get(entry.label)
            if label:
                backbone = entry.backbone.split(" / ")[0]
                assert (label, backbone, *entry.paper.values()) in published
                assert (entry.config_file is None) == (entry.label == "C2AM")


def test_every_ablation_config_is_a_row_of_a_table():
    used = {
        CONFIGS / name
        for table in TABLES["tables"].values()
        for entry in table["rows"]
        for name in entry.get("config", {}).values()
    }
    assert set((CONFIGS / "ablation").rglob("*.yaml")) <= used


@pytest.mark.parametrize(
    ("config", "entry", "value"),
    [
        ("table3/gamma2_alpha0.25.yaml", ("WEND", "GAMMA"), 2.0),
        ("table3/gamma2_alpha0.25.yaml", ("WEND", "ALPHA"), 0.25),
        ("table3/gamma2_alpha0.25.yaml", ("WEND", "ETA"), 1.0),
        ("table4/eta0.0625.yaml", ("WEND", "ETA"), 0.0625),
        ("table6/CUB/fcos_R50_we.yaml", ("MODEL", "BACKBONE", "FREEZE_AT"), 5),
        ("table8/eta0.015625.yaml", ("WEND", "ETA"), 0.015625),
        ("table8/eta0.015625.yaml", ("WEND", "GAMMA"), 4.0),
        ("table8/eta0.015625.yaml", ("WEND", "EPOCHS"), 10),
        ("table9/tau0.4.yaml", ("WEND", "TAU2"), 0.4),
        ("table10/entropy_ImageNet.yaml", ("WEND", "LOSS"), "entropy"),
        ("table10/entropy_ImageNet.yaml", ("WEND", "ETA"), 0.03125),
        ("table10/eta_CUB.yaml", ("WEND", "LOSS"), "none"),
        ("table10/eta_CUB.yaml", ("WEND", "ETA"), 0.125),
        ("table10/factor_ImageNet.yaml", ("WEND", "ETA"), 1.0),
        ("table10/factor_ImageNet.yaml", ("WEND", "UNSUP_FACTOR"), 1 / 0.03125),
        ("table7/CUB/cln_R50_we.yaml", ("DATASETS", "TRAIN"), ["cub_train_c2am_moco"]),
        ("table7/ImageNet/scr_R50.yaml", ("DATASETS", "TRAIN"), ["imagenet_train_c2am_moco"]),
        ("table10/entropy_CUB.yaml", ("WEND", "WE", "NORMALIZER"), "samples"),
        ("table10/factor_CUB.yaml", ("WEND", "WE", "NORMALIZER"), "positives"),
        ("table12/ratio1_4.yaml", ("MODEL", "ROI_HEADS", "POSITIVE_FRACTION"), 0.2),
        ("table12/ratio1_4_exact.yaml", ("MODEL", "ROI_HEADS", "POSITIVE_FRACTION"), 0.2),
        ("table12/ratio1_4_exact.yaml", ("WEND", "RCNN", "RATIO"), "exact"),
        ("table12/ratio2_3.yaml", ("MODEL", "ROI_HEADS", "POSITIVE_FRACTION"), 0.4),
    ],
)
def test_ablation_config_says_what_its_row_says(config, entry, value):
    from fvcore.common.config import CfgNode

    node = CfgNode.load_yaml_with_base(str(CONFIGS / "ablation" / config))
    for part in entry:
        node = node[part]
    assert node == value


# ---- what the paper's differences can show ----


def difference(table, data, label, reference):
    rows = significance.differences(TABLES)
    keys = (table, data, label, reference)
    (row,) = [row for row in rows if tuple(row[:4]) == keys]
    return row


def test_a_difference_stands_against_the_spread_of_its_images():
    # facts.md: the unpaired binomial deviation of a difference is 0.44 (CUB) and 0.29 (ImageNet)
    # points, and WE - BCD of Faster R-CNN on CUB 3.5 to 4.4 of them
    row = difference(2, "CUB", "Faster R-CNN + WE, DenseNet161", "Faster R-CNN")
    # sqrt((0.9487 · 0.0513 + 0.9336 · 0.0664) / 5794)
    assert row.sigma == pytest.approx(100 * ((0.04866831 + 0.06199104) / 5794) ** 0.5, rel=1e-9)
    assert (round(row.sigma, 2), round(row.z, 1)) == (0.44, 3.5)
    assert row.p_value == pytest.approx(2 * (1 - statistics.NormalDist().cdf(row.z)), rel=1e-6)
    row = difference(2, "ImageNet", "CLN + WE, ResNet50", "CLN")
    assert (round(row.sigma, 2), round(row.z, 1)) == (0.29, 0.2)
    row = difference(10, "CUB", "BCD + WE, DenseNet161", "BCD + entropy")
    assert round(row.z, 1) == 1.4
    row = difference(5, "CUB", "WEND, ResNet50 / EfficientNet-B7", "PPD, ViT-S")
    assert (row.value, row.other) == (95.47, 97.0)
    row = difference(6, "ImageNet", "CLN, ResNet50", "CLN + WE (table 2)")
    assert (row.value, row.other) == (69.94, 69.86)
    row = difference(7, "CUB", "CLN + WE, ResNet50", "C2AM's boxes from MoCo weights")
    assert (row.value, row.other) == (94.48, 89.90)


def test_every_table_has_differences_and_several_boxes_stand_for_themselves():
    single, several = (
        {row.table for row in significance.differences(TABLES, metric)}
        for metric in significance.METRICS
    )
    assert single == set(range(2, 13))
    assert several == single - {5, 7}  # the other methods and C2AM have one box
    rows = significance.differences(TABLES, "gt_known_loc_multi")
    (row,) = [row for row in rows if tuple(row[:3]) == (2, "ImageNet", FASTER_RCNN)]
    # sqrt((0.7239 · 0.2761 + 0.7151 · 0.2849) / 50000)
    assert row.sigma == pytest.approx(100 * ((0.19986879 + 0.20373199) / 50000) ** 0.5, rel=1e-9)
    assert round(row.z, 1) == 3.1


def test_the_page_on_the_paper_is_what_the_command_prints():
    page = (REPOSITORY / "docs" / "what_the_paper_shows.md").read_text(encoding="utf-8")
    assert page == significance.page(TABLES)


# ---- readings ----

READINGS = TABLES["readings"]


def test_rows_with_we_stand_under_each_reading_and_the_others_once(tmp_path):
    rows = [row("CUB/fcos_R50.yaml"), row("CUB/fcos_R50_we.yaml", "FCOS + WE"), row("", "BAS")]
    rows[2] = plan.Row("BAS", "ResNet50", "CUB", None)
    both = plan.with_readings(rows, ["likeliest", "literal"], READINGS)
    labels = ["FCOS", "FCOS + WE, likeliest", "FCOS + WE, literal", "BAS"]
    assert [entry.label for entry in both] == labels
    (_, single, _) = plan.with_readings(rows, ["literal"], READINGS)
    assert single.label == "FCOS + WE"
    runs_of = planned([*both, single], tmp_path, seeds=(0,))
    keys = [each[0].key for each in runs_of.values() if each]
    assert keys[3] == keys[2] != keys[1]
    likeliest, literal = (each.arguments() for each in (runs_of[both[1]][0], runs_of[both[2]][0]))
    assert "WEND.WE.NORMALIZER" not in likeliest
    assert literal[literal.index("WEND.WE.NORMALIZER") + 1] == "samples"


def test_readings_that_are_asked_for_one_after_the_other_share_an_output(tmp_path):
    rows = [row("CUB/fcos_R50_we.yaml")]
    folders = {
        names: [
            runs[0].folder
            for runs in planned(
                plan.with_readings(rows, names, READINGS), tmp_path, seeds=(0,)
            ).values()
        ]
        for names in [
            ("likeliest",),
            ("literal",),
            ("likeliest", "literal"),
            ("literal", "likeliest"),
        ]
    }
    (likeliest,), (literal,), *both = folders.values()
    assert literal.parent.name == "fcos_R50_we-literal"
    assert both == [[likeliest, literal], [literal, likeliest]]


@pytest.mark.parametrize("data", plan.DATA)
@pytest.mark.parametrize("detector", ["fcos_R50", "faster_rcnn_R50", "deformable_detr_R50"])
def test_the_literal_config_is_the_reading_of_that_name(data, detector, tmp_path):
    rows = [row(f"{data}/{detector}_we_literal.yaml"), row(f"{data}/{detector}_we.yaml")]
    rows[1] = plan.with_readings(rows[1:], ["literal"], READINGS)[0]
    (first,), (second,) = planned(rows, tmp_path, seeds=(0,)).values()
    assert first.key == second.key


# ---- runs ----


def test_rows_that_say_the_same_share_their_runs_and_others_do_not(tmp_path):
    we = {"WEND.LOSS": "weighted_entropy", "WEND.WE.NORMALIZER": "positives"}
    rows = [
        row("CUB/fcos_R50_we.yaml"),
        row("CUB/fcos_R50.yaml", overrides={**we, "WEND.ETA": "0.125"}),
        row("CUB/fcos_R50.yaml"),
        row("CUB/fcos_R50.yaml", overrides={"WEND.ETA": "0.5"}),
    ]
    keys = [each[0].key for each in planned(rows, tmp_path).values()]
    assert keys[0] == keys[1]
    assert len(set(keys)) == 3
    folders = [each[0].folder for each in planned(rows, tmp_path).values()]
    assert folders[0] == folders[1]
    assert len(set(folders)) == 3  # also where the YAML is the same
    assert folders[0] == tmp_path / "CUB" / "fcos_R50_we" / "seed0"


def test_the_seed_changes_the_folder_and_the_command_alone(tmp_path):
    first, second = next(iter(planned([row()], tmp_path).values()))
    assert first.key == second.key
    assert first.folder != second.folder
    assert [t for t in first.arguments() if "seed" not in t] != second.arguments()


def test_command_can_be_given_to_a_shell(tmp_path):
    odd = row(overrides={"MODEL.WEIGHTS": "my file's weights.pth", "DATASETS.TEST": "('a',)"})
    run = plan.plan_runs([odd], [3], tmp_path / "out put", engine=ENGINE)[odd][0]
    words = shlex.split(run.command())
    args = make_parser().parse_args(words[2:])
    assert Path(args.config_file).resolve() == CONFIGS / "CUB" / "fcos_R50.yaml"
    assert args.resume
    pairs = dict(zip(args.opts[::2], args.opts[1::2], strict=True))
    assert pairs["MODEL.WEIGHTS"] == "my file's weights.pth"
    assert pairs["SEED"] == "3"
    assert Path(pairs["OUTPUT_DIR"]) == run.folder


def test_finished_runs_are_known_and_anothers_folder_is_refused(tmp_path):
    done, open_ = next(iter(planned([row()], tmp_path).values()))
    finish(done, {"original": 50.0})
    assert runs.is_finished(done)
    assert not runs.is_finished(open_)
    other = row(overrides={"WEND.ETA": "0.5"}, name=done.name)
    (changed, *_) = planned([other], tmp_path)[other]
    assert changed.folder == done.folder
    with pytest.raises(InputError, match="holds a run of another config"):
        runs.is_finished(changed)


def write_metrics(arguments, log, threads):
    """Stands in for a training, in a child."""
    pairs = dict(zip(arguments[-4::2], arguments[-3::2], strict=True))
    Path(log).write_text(f"threads {threads}\n" + "line\n" * 20 + "the last line\n")
    if pairs["SEED"] == "1":
        sys.exit(5)


def test_only_open_runs_are_done_and_failures_do_not_stop_the_others(tmp_path):
    wanted = next(iter(planned([row()], tmp_path, seeds=(0, 1, 2, 3)).values()))
    finish(wanted[0], {"original": 50.0})
    lines = []
    (failure,) = runs.run_all(wanted, 2, 1, lines.append, write_metrics)
    assert failure.run is wanted[1]
    assert failure.status == 5
    assert failure.tail.splitlines()[-1] == "the last line"
    assert len(failure.tail.splitlines()) == runs.LAST_LINES
    assert [runs.is_finished(run) for run in wanted] == [True, False, True, True]
    assert lines[0] == "4 runs: 1 finished already, 3 to do"
    assert not (wanted[0].folder / runs.LOG).exists()
    assert len(lines) == 4
    again = []
    runs.run_all(wanted, 2, 1, again.append, write_metrics)
    assert again[0] == "4 runs: 3 finished already, 1 to do"


def test_expected_time_counts_open_runs_and_samples_each_config_once(tmp_path):
    rows = [row(), row(overrides={"WEND.ETA": "0.5"})]
    plan_ = planned(rows, tmp_path, seeds=(0, 1, 2))
    wanted = [run for each in plan_.values() for run in each]
    finish(wanted[0], {}, seconds=40.0)
    sampled = []

    def sample(run):
        sampled.append(run.key)
        return 100.0

    seconds, _ = runs.estimate(wanted, 2, sample)
    assert sampled == [wanted[3].key]
    assert seconds == (2 * 40 + 3 * 100) / 2


# ---- tables ----


def test_table_has_mean_sd_and_the_papers_figure(tmp_path):
    rows = [row(), row("CUB/scr_R50.yaml", "SCR", paper={"gt_known_loc": 92.48})]
    plan_ = planned(rows, tmp_path, seeds=(0, 1, 2))
    for run, value in zip(plan_[rows[0]], (90.0, 92.0, 97.0), strict=True):
        finish(run, {"psol-crop224": value, "original": value - 1})
    # mean 93; sd = sqrt((9 + 1 + 16) / 2) = 3.6056
    text = render.markdown(plan_, "Table")
    (line,) = [line for line in text.splitlines() if line.startswith("| FCOS")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert cells == ["FCOS", "ResNet50", "3", "93.00 ± 3.61", "92.00 ± 3.61", "94.24"]
    (missing,) = [line for line in text.splitlines() if line.startswith("| SCR")]
    assert "not run" in missing
    lines = render.as_csv(plan_).splitlines()
    assert lines[1] == (
        "CUB,FCOS,ResNet50,CUB/fcos_R50.yaml,psol-crop224,gt_known_loc,3,93.0000,3.6056,94.24,"
        "-1.2400,90.0000 92.0000 97.0000"
    )
    assert lines[2].split(",")[9] == ""  # the paper's protocol alone is compared with the paper
    assert lines[3] == "CUB,SCR,ResNet50,CUB/scr_R50.yaml,,,0,,,,,"


def test_published_rows_and_a_note_stand_in_the_table(tmp_path):
    rows = [row(), plan.Row("BAS", "ResNet50", "CUB", None, paper={"gt_known_loc": 95.13})]
    text = render.markdown(planned(rows, tmp_path), "Table", "A note.")
    (line,) = [line for line in text.splitlines() if line.startswith("| BAS")]
    cells = [cell.strip() for cell in line.strip("|").split("|")]
    assert (cells[2], cells[-1]) == ("published", "95.13")
    assert text.endswith("\n\nA note.\n")
    last = render.as_csv(planned(rows, tmp_path)).splitlines()[-1]
    assert last == "CUB,BAS,ResNet50,,psol-crop224,gt_known_loc,0,,,95.13,,"


def test_multi_box_figures_of_all_boxes_stand_beside_those_of_five(tmp_path):
    rows = [row(paper={"gt_known_loc_multi": 98.0})]
    plan_ = planned(rows, tmp_path, seeds=(0,))
    (run,) = plan_[rows[0]]
    finish(run, {})
    at_k = {"5": {"gt_known_loc_multi": 90.0}, "all": {"gt_known_loc_multi": 99.0}}
    metrics = {"psol-crop224": {"gt_known_loc_multi": 90.0, "multi": at_k}}
    (run.folder / "inference" / run.test_set / "metrics.json").write_text(json.dumps(metrics))
    header, _, line = render.markdown(plan_, "Table").strip().splitlines()[-3:]
    cells = [[cell.strip() for cell in text.strip("|").split("|")] for text in (header, line)]
    shown = dict(zip(*cells, strict=True))
    assert shown["GT-known multi (psol-crop224)"] == "90.00"
    assert shown["GT-known multi, K all (psol-crop224)"] == "99.00"
    assert [name for name in shown if name.startswith("paper")] == ["paper: GT-known multi"]
    differences = {line.split(",")[5]: line.split(",")[10] for line in render.as_csv(plan_).split()}
    assert differences["gt_known_loc_multi"] == "-8.0000"
    assert differences["gt_known_loc_multi@all"] == "1.0000"


def test_one_seed_has_no_spread():
    assert str(render.Spread((50.0,))) == "50.00"
    assert render.Spread((50.0,)).sd is None


def test_curves_are_means_over_seeds(tmp_path):
    single = row()
    plan_ = planned([single], tmp_path)
    for each, values in zip(plan_[single], ((10.0, 30.0), (20.0, 50.0)), strict=True):
        finish(each, {})
        lines = [
            f"{i},{i},{each.test_set},original,gt_known_loc,{v}" for i, v in enumerate(values, 1)
        ]
        text = "\n".join(["iteration,epoch,dataset,protocol,metric,value", *lines, ""])
        (each.folder / "curve.csv").write_text(text)
    means = figures.curves(plan_, "original")
    # sd of (10, 20) = 7.0711, of (30, 50) = 14.1421
    assert means["FCOS"] == [
        (1, 15.0, pytest.approx(7.0711, abs=1e-4), 2),
        (2, 40.0, pytest.approx(14.1421, abs=1e-4), 2),
    ]
    assert figures.curves(plan_, "psol-crop224") == {"FCOS": []}


# ---- noise ----


@pytest.mark.parametrize("share", STUDIES["noise"]["data"]["disturbed"])
def test_noise_keeps_the_proportions_of_its_kinds(share):
    config, default = noise.noisy_config(share, 10, 5), ToyConfig()
    assert config.part + config.shift + config.wrong_place + config.merge == pytest.approx(share)
    # the default's 0.15 : 0.12 : 0.08 : 0.13
    assert config.part * 12 == pytest.approx(config.shift * 15)
    assert config.wrong_place * 13 == pytest.approx(config.merge * 8)
    assert (config.seed, config.image_size) == (default.seed, default.image_size)


# ---- studies ----


@pytest.fixture
def small_study(monkeypatch, tmp_path, toy_root):
    """:func:`study.read_study` with the tiny toy set instead of photographs."""
    data = {"kind": "disturbed", "train": "toy_train_c2am", "test": "toy_test"}
    studies = {
        name: {**each, "data": {**data, "right": [0.25, study.GIVEN]}}
        for name, each in STUDIES.items()
        if each["data"]["kind"] == "disturbed"
    }
    monkeypatch.setattr(study, "read_yaml", {"studies.yaml": studies, "toy.yaml": TOY}.get)
    monkeypatch.setattr(study, "HERE", _Names())
    return lambda name, **more: study.read_study(name, tmp_path, toy_root.parent, **more)


@pytest.mark.parametrize("name", ["photos", "objects"])
def test_no_row_of_a_study_has_a_schedule_of_its_own(name):
    entries = [key for each in STUDIES[name]["rows"] for key in each.get("set", {})]
    assert not [key for key in entries if key.startswith(("SOLVER", "SEED", "WEND.ETA", "INPUT"))]
    by_detector = {each["config"] for each in STUDIES[name]["rows"]}
    assert all((REPOSITORY / config).is_file() for config in by_detector)


def test_names_of_rows_are_those_of_their_folders(small_study):
    for each in STUDIES:
        names = [row["name"] for row in STUDIES[each]["rows"]]
        assert len(set(names)) == len(names)
        labels = [row["label"] for row in STUDIES[each]["rows"]]
        assert len(set(labels)) == len(labels)
        assert {row["against"] for row in STUDIES[each]["rows"] if "against" in row} <= set(names)
    rows = small_study("photos", only=["fcos"]).rows
    assert [[row.name for row in of] for of in rows.values()] == [
        [f"photos/{setting.name}/fcos"] for setting in rows
    ]


def test_a_setting_has_the_share_of_right_boxes_that_it_says(small_study, toy_root, monkeypatch):
    settings = small_study("photos", only=["fcos"]).settings
    assert settings[0].name == "25"
    for setting in settings:
        (name,) = setting.overrides["DATASETS.TRAIN"].strip("(),'").split("','")
        data_set = DataSets(toy_root.parent).get(name)
        ious = [
            max(float(paired_iou(box, truth)) for truth in row.gt_boxes)
            for row in data_set
            for box in row.pseudo_boxes
        ]
        assert 100 * np.mean(np.array(ious) > 0.5) == pytest.approx(setting.x)
        assert len(data_set) == 24


def test_other_boxes_are_made_by_their_commands_once(small_study, monkeypatch, capsys, tmp_path):
    """What they need comes first, the commands are printed, and a second plan runs none."""
    entries = study.read_yaml("studies.yaml", "")["photos"]
    entries["data"]["other_boxes"] = {
        "copy": {"command": "copy {file} {folder}/copy{name}.json", "needs": ["old"]}
        | {"file": "{folder}/copy{name}.json"},
        "old": {"command": "make {root}", "file": "{folder}/old.json"},
    }
    row = {"name": "copied", "label": "copied", "boxes": "copy"}
    entries["rows"] = [{**row, "config": "configs/CUB/fcos_R50.yaml"}]
    called = []

    def run(command, check):
        called.append(command[3:])
        words = {"copy": ("copy25.json", "right25.json"), "make": ("old.json", "right25.json")}
        target, source = (tmp_path / "data" / "photos" / name for name in words[command[3]])
        target.write_text(source.read_text())
        return type("Done", (), {"returncode": 0})

    monkeypatch.setattr(study.subprocess, "run", run)
    for _ in range(2):
        found = small_study("photos", at=["25"])
        ((made,),) = found.rows.values()
        assert "_copy25.yaml" in made.overrides["DATASETS.TRAIN"]
    assert [words[0] for words in called] == ["make", "copy"]
    assert called[1][1].endswith("right25.json")
    assert "wend make " in capsys.readouterr().out


def test_an_unknown_row_of_a_study_is_named(small_study):
    with pytest.raises(InputError, match="--only focs: there is no such row of study photos: scr"):
        small_study("photos", only=["focs"])


def test_an_unknown_setting_of_a_study_is_named(small_study):
    with pytest.raises(InputError, match="--at 33: study photos has 25, "):
        small_study("photos", only=["fcos"], at=["25", "33"])


def test_a_new_entry_with_its_default_leaves_the_key_of_a_run(tmp_path, monkeypatch):
    single = row()
    (before, *_) = planned([single], tmp_path)[single]
    resolve, defaults = plan._resolve, plan._defaults

    def with_new_entry(function):
        def changed(*args):
            cfg = function(*args).clone()
            cfg.defrost()
            cfg.WEND.NEW = 1
            return cfg

        return changed

    monkeypatch.setattr(plan, "_resolve", with_new_entry(resolve))
    monkeypatch.setattr(plan, "_defaults", with_new_entry(defaults))
    assert planned([single], tmp_path)[single][0].key == before.key
    other = plan.with_overrides(single, {"WEND.ETA": 0.5})
    assert planned([other], tmp_path)[other][0].key != before.key


def test_a_study_whose_data_are_missing_is_skipped_with_a_message(tmp_path, capsys):
    options = ["--datasets-root", str(tmp_path), "--output", str(tmp_path), "--engine", ENGINE]
    assert command.main(["study", "photos", *options]) == 2
    error = capsys.readouterr().err
    assert error.startswith("study photos: skipped, its data are missing: ")
    assert str(tmp_path) in error


def test_the_overview_has_rows_beside_sizes_of_the_noise():
    spreads = {
        "BCD": {45.0: render.Spread((60.0, 62.0)), 74.0: render.Spread((80.0,))},
        "WE": {45.0: render.Spread((61.0,))},
    }
    lines = render.overview(spreads, "right boxes (%)").splitlines()
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    assert cells[0] == ["right boxes (%)", "74", "45"]
    assert cells[2:] == [["BCD", "80.0", "61.0 ± 1.4"], ["WE", "", "61.0"]]


def test_rows_are_compared_with_their_reference_over_images_and_seeds(tmp_path, toy_root):
    """Two seeds of a row that is always right, against two of one that is never: 100 points."""
    test = DataSets(toy_root.parent).get("toy_test")
    rows = [row(label=label) for label in ("BCD", "WE")]
    rows[1] = plan.with_overrides(rows[1], {"WEND.LOSS": "entropy"})
    plan_ = planned(rows, tmp_path)
    for single, runs_ in plan_.items():
        for each in runs_:
            finish(each, {})
            boxes = [
                record.gt_boxes[:1] if single.label == "WE" else record.gt_boxes[:1] + 1000
                for record in test
            ]
            table = BoxTable.from_lists(boxes, [[0.5]] * len(test))
            file = each.folder / "inference" / each.test_set / "detections.json"
            file.write_text(json.dumps(detections_to_coco(test, table)))
    pairs = paired.compare_rows(plan_, {"WE": "BCD"}, test, "original")
    by_name = {pair.a.column.label: pair for pair in pairs}
    best, iou = by_name["gt_known_loc"], by_name["mean_iou"]
    assert best.test.difference == 100
    assert best.test.low > 50
    assert iou.test.difference == pytest.approx(1)
    assert best.p_holm == best.test.p_value  # a family of one row
    table = paired.pair_table([best])
    assert "| WE | BCD       | GT-known Loc | 2, 2    | +100.0       |" in table


# ---- the command ----


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["table", "99"], "error: table 99: there are 2, 3, 4, 5, 6"),
        (["table", "two"], "error: table two: expected a whole number"),
        (["figure", "9"], "error: figure 9: there are 3, 4"),
        (["study", "dust"], "error: study dust: there are: noise, photos, objects"),
        (["table", "9"], "error: tau0.1.yaml starts from the weights 'D161': give --weights D161="),
        (["table", "1"], "error: table 1: there are 2, 3, 4, 5, 6, 7"),
        (["table", "9", "--weights", "D161"], "error: --weights D161: expected NAME=VALUE"),
        (["table", "9", "--weights", "A=1", "A=2"], "error: --weights A=1 A=2: a name is given"),
    ],
)
def test_wrong_input_is_one_line(argv, message, tmp_path, capsys):
    assert command.main([*argv, "--output", str(tmp_path), "--engine", ENGINE]) == 2
    error = capsys.readouterr().err
    assert error.startswith(message)
    assert error.count("\n") == 1


def test_two_rows_from_the_command_to_the_table(tmp_path, monkeypatch, capfd):
    small = {**TOY, "train_images": 16, "test_images": 6}
    monkeypatch.setattr(command, "read_yaml", {"tables.yaml": _two_rows(), "toy.yaml": small}.get)
    monkeypatch.setattr(command, "HERE", _Names())
    monkeypatch.setattr(runs, "SAMPLE_ITERATIONS", 20)
    argv = ["table", "2", "--toy", "--seeds", "0", "--output", str(tmp_path), "--set"]
    argv += ["SOLVER.MAX_ITER=20", "SOLVER.WARMUP_ITERS=1", "SOLVER.IMS_PER_BATCH=4"]
    with kept_logging():
        assert command.main(argv) == 0
    out = capfd.readouterr().out
    assert "expected: " in out
    assert "2 runs: 0 finished already, 2 to do" in out
    table = (tmp_path / "results" / "table2_toy.md").read_text()
    for label in ("SCR", "FCOS"):
        (line,) = [line for line in table.splitlines() if line.startswith(f"| {label} ")]
        assert line.split("|")[3].strip() == "1"
    with kept_logging():
        assert command.main(argv) == 0
    assert "2 runs: 2 finished already, 0 to do" in capfd.readouterr().out


class _Names:
    """``HERE / name`` is the name."""

    def __truediv__(self, name):
        return name


def _two_rows():
    def make_row(label, config):
        return {
            **{"label": label, "backbone": "ResNet50", "weights": "R50"},
            **{"config": {"CUB": config}, "paper": {"CUB": [None, None, None, 90.0, None]}},
        }

    rows = [make_row("SCR", "CUB/scr_R50.yaml"), make_row("FCOS", "CUB/fcos_R50.yaml")]
    tables = {2: {"title": "Two", "rows": rows}}
    return {"metrics": TABLES["metrics"], "readings": READINGS, "tables": tables}
