"""How a config's entries become a teacher, and which do not fit each other."""

import pytest

from wend.config import check_config, merge_config, teaching_of
from wend.errors import InputError
from wend.losses import IMAGE_WEIGHTS, image_weights
from wend.schedules import Progress
from wend.tv.config import get_cfg

pytestmark = pytest.mark.usefixtures("own_registries")


def config(*opts):
    cfg = get_cfg()
    merge_config(cfg, "CUB/fcos_R50", list(map(str, opts)), "")
    return cfg


def test_without_a_word_there_is_no_teacher():
    assert teaching_of(config()) is None
    assert teaching_of(config("WEND.EMA.DECAY", 0.99)) is None


def test_the_entries_reach_the_teacher():
    teaching = teaching_of(
        config(
            *("WEND.EMA.DECAY", 0.99, "WEND.REFINE", "average", "WEND.TEACHER.START", 0.25),
            *("WEND.TEACHER.FLIP", True, "WEND.TEACHER.MIN_SCORE", 0.2, "WEND.TEACHER.IOU", 0.4),
            *("WEND.TEACHER.CLOSER_LOOK", 1.3),
            *("WEND.TEACHER.SCORE_QUANTILE", 0.1, "WEND.TEACHER.WEIGHT", 0.2, "WEND.STEP_AT", 0.6),
            *("WEND.TEACHER.WEIGHT_SCHEDULE", "step", "WEND.TEACHER.WEIGHT_END", 0.8),
        )
    )
    assert (teaching.start, teaching.flip, teaching.closer_look) == (0.25, "horizontal", 1.3)
    assert (teaching.min_score, teaching.score_quantile) == (0.2, 0.1)
    parameters = teaching.refinement.parameters
    assert parameters["iou"] == 0.4
    weights = [parameters["weight"].at(Progress(iteration, 10)) for iteration in (5, 6)]
    assert weights == [0.2, 0.8]


def test_a_teacher_that_only_predicts():
    teaching = teaching_of(config("WEND.EMA.DECAY", 0.99, "WEND.TEACHER.ENABLED", True))
    assert teaching.refinement.is_none
    assert teaching.flip == ""


@pytest.mark.parametrize(
    ("opts", "message"),
    [
        (("WEND.REFINE", "average"), r"WEND.EMA.DECAY: expected > 0.*WEND.REFINE average.*got 0"),
        (("WEND.TEACHER.ENABLED", True), r"WEND.EMA.DECAY: expected > 0.*ENABLED True"),
        (("WEND.REFINE", "avrage"), r"WEND.REFINE: unknown refinement 'avrage'.*'average'"),
        (("WEND.TEACHER.WEIGHT_SCHEDULE", "line"), r"TEACHER.WEIGHT_SCHEDULE: unknown schedule"),
        (
            *[("WEND.EMA.DECAY", 0.9, "WEND.REFINE", "soft", "WEND.TEACHER.FLIP", True)],
            r"WEND.TEACHER.FLIP: expected False, where INPUT.RANDOM_FLIP is none",
        ),
    ],
    ids=["no average", "only enabled", "unknown", "schedule", "flip"],
)
def test_what_does_not_fit_is_named(opts, message):
    cfg = get_cfg()
    mirrored = () if "WEND.TEACHER.FLIP" not in opts else ("INPUT.RANDOM_FLIP", "none")
    with pytest.raises(InputError, match=message):
        merge_config(cfg, "CUB/fcos_R50", list(map(str, (*opts, *mirrored))), "")


def test_agreement_with_a_teacher_needs_one():
    if "teacher_agreement" not in IMAGE_WEIGHTS:
        image_weights("teacher_agreement")(lambda images: images.boxes[0].new_ones(len(images)))
    weights = ("WEND.IMAGE_WEIGHTS", "('teacher_agreement',)")
    with pytest.raises(InputError, match=r"WEND.IMAGE_WEIGHTS: .*set WEND.TEACHER.ENABLED True"):
        config(*weights, "WEND.EMA.DECAY", 0.99)
    config(*weights, "WEND.EMA.DECAY", 0.99, "WEND.TEACHER.ENABLED", True)


def test_code_of_the_users_own_is_found_beside_the_yaml(tmp_path):
    (tmp_path / "mine.py").write_text(
        "def keep(boxes, scores, teacher_boxes, teacher_scores, progress):\n"
        "    return boxes, scores\n\n\n"
        "def half(progress, start, end):\n    return 0.5\n"
    )
    (tmp_path / "own.yaml").write_text(
        "_BASE_: CUB/fcos_R50\n"
        "WEND: {REFINE: ./mine.py:keep, EMA: {DECAY: 0.9}, "
        "TEACHER: {WEIGHT_SCHEDULE: ./mine.py:half}}\n"
    )
    cfg = get_cfg()
    merge_config(cfg, str(tmp_path / "own.yaml"), [], "")
    assert cfg.WEND.REFINE == f"{tmp_path / 'mine.py'}:keep"
    assert cfg.WEND.TEACHER.WEIGHT_SCHEDULE == f"{tmp_path / 'mine.py'}:half"
    check_config(cfg)
    assert teaching_of(cfg).refinement.name.endswith("mine.py:keep")
