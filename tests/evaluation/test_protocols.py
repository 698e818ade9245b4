"""Every preset against tests/peers.py on real truth, hand values, and a user's own YAML."""

import dataclasses

import numpy as np
import peers
import pytest
import reference

from wend.errors import InputError
from wend.evaluation.collect import detection_table
from wend.evaluation.metrics import accuracy, hits
from wend.evaluation.per_image import score
from wend.evaluation.protocols import PROTOCOLS, EvalProtocol, get_protocol, load_protocol
from wend.structures.box_table import BoxTable
from wend.structures.class_predictions import ClassPredictions
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord


def jittered(images, rng, halves):
    """Give each image up to six boxes near its truth (some whole, some a half) and classes."""
    for image in images:
        w, h = image["width"], image["height"]
        truth = np.array(image["gt_boxes"])[rng.integers(0, len(image["gt_boxes"]), 6)]
        boxes = truth + rng.normal(0, 0.1, (6, 4)) * np.tile(truth[:, 2:] - truth[:, :2], 2)
        boxes[::2] = np.round(boxes[::2])
        boxes = boxes.clip(0, [w, h, w, h])
        boxes = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]),
                                np.maximum(boxes[:, :2], boxes[:, 2:])], 1)  # fmt: skip
        if halves and rng.random() < 0.3:
            boxes[0] = truth[0]
            boxes[0, 2] = (truth[0, 0] + truth[0, 2]) / 2
        image["boxes"] = boxes[: rng.integers(0, 7)].tolist()
        image["class_ranking"] = (image["class_id"] + rng.permutation(9)).tolist()
    return images


def as_tables(images):
    """Data set, detections and ranks of the true classes."""
    data_set = DataSet.from_records(
        ImageRecord(i, "x", d["width"], d["height"], class_id=d["class_id"], gt_boxes=d["gt_boxes"])
        for i, d in enumerate(images)
    )
    boxes = [d["boxes"] for d in images]
    detections = BoxTable.from_lists(boxes, [-np.arange(len(each)) for each in boxes])
    classes = ClassPredictions({i: d["class_ranking"] for i, d in enumerate(images)})
    return data_set, detections, classes.ranks(data_set)


@pytest.fixture(scope="module", params=["ILSVRC/test", "CUB/test"])
def truth(request, shared):
    images = reference.read_metadata(shared / "data/wsol_metadata" / request.param)
    chosen = np.random.default_rng(5).permutation(len(images))[:2500]
    return [images[i] for i in chosen]


@pytest.mark.parametrize("name", PROTOCOLS)
def test_preset_equals_the_peers_arithmetic_on_real_truth(truth, name):
    # an exact half is 0.5 in whole or original pixels; in PSOL's frame its last bit is rounding
    images = jittered(truth, np.random.default_rng(11), halves=not name.startswith("psol"))
    data_set, detections, ranks = as_tables(images)
    scores = score(data_set, detections, get_protocol(name), ranks)
    for k in (1, 3, 5, 10, None):
        theirs, overlaps = peers.PEERS[name](images, k)
        for metric, value in theirs.items():
            assert accuracy(scores, metric, k) == pytest.approx(value, abs=1e-9), (metric, k)
    assert len(set(theirs.values())) == 5  # the case tells metrics apart
    np.testing.assert_allclose(scores.top_iou, [f[0] if f else 0 for f in overlaps], atol=1e-9)
    np.testing.assert_allclose(scores.best_iou, [max(f, default=0) for f in overlaps], atol=1e-9)


def test_every_preset_has_its_peer():
    assert set(PROTOCOLS) == set(peers.PEERS) >= {"psol-crop224", "original"}
    assert all(protocol.source for protocol in PROTOCOLS.values())


# --- by hand ---------------------------------------------------------------------------------


def scored(protocol, gt, boxes, width=100, height=100, ranking=None):
    record = ImageRecord(1, "c/1.jpg", width, height, class_id=0, gt_boxes=gt)
    data_set = DataSet.from_records([record])
    ranks = None if ranking is None else ClassPredictions({1: ranking}).ranks(data_set)
    detections = BoxTable.from_lists([boxes], [-np.arange(len(boxes))])
    return score(data_set, detections, protocol, ranks)


def iou(protocol, gt, box, **size):
    return float(scored(protocol, [gt], [box], **size).top_iou[0])


MAPPED = EvalProtocol("mapped", resize=224, crop=224)


def test_plus_one_counts_whole_pixels():
    # columns 0..9 and 0..4 of ten rows: 50 of 100 pixels; continuous 9x4 of 9x9
    whole = EvalProtocol("whole", pixel_offset=1)
    assert iou(whole, [0, 0, 9, 9], [0, 0, 4, 9]) == 0.5
    assert iou(EvalProtocol("original2"), [0, 0, 9, 9], [0, 0, 4, 9]) == pytest.approx(36 / 81)
    # neighbours that share no area share the column 9: 10 of 190 pixels
    assert iou(whole, [0, 0, 9, 9], [9, 0, 18, 9]) == pytest.approx(10 / 190)


def test_a_box_of_one_pixel_has_area_only_with_plus_one():
    assert iou(EvalProtocol("whole", pixel_offset=1), [3, 3, 3, 3], [3, 3, 3, 3]) == 1
    assert iou(EvalProtocol("continuous"), [3, 3, 3, 3], [3, 3, 3, 3]) == 0


def test_truncation_cuts_the_fraction_after_mapping():
    # 224/100 x: 10 -> 22.4 -> 22, 20 -> 44.8 -> 44, 15 -> 33.6 -> 33; rows 0..100 -> 0..224
    cut = dataclasses.replace(MAPPED, truncate="multiply-first")
    assert iou(cut, [10, 0, 20, 100], [10, 0, 15, 100]) == 11 / 22
    assert iou(MAPPED, [10, 0, 20, 100], [10, 0, 15, 100]) == pytest.approx(0.5, abs=1e-15)
    plus = dataclasses.replace(cut, pixel_offset=1)
    assert iou(plus, [10, 0, 20, 100], [10, 0, 15, 100]) == 12 / 23


def test_the_order_of_the_division_decides_a_pixel():
    # 55 of 154: 55 * 224 / 154 = 80 exactly; 55 / 154 * 224 is just below in binary
    assert int(55 * 224 / 154) == 80
    pairs = [(x, w) for w in range(50, 500) for x in range(w) if x * 224 % w == 0]
    x, w = next((x, w) for x, w in pairs if int(x / w * 224) != x * 224 // w)
    box = np.array([[0.0, 0, x, 10]])
    mapped = {
        order: dataclasses.replace(MAPPED, truncate=order).to_frame(
            box, np.array([w]), np.array([10])
        )
        for order in ("multiply-first", "divide-first")
    }
    assert mapped["multiply-first"][0, 2] == x * 224 // w == mapped["divide-first"][0, 2] + 1


def test_clipping_at_the_frame_at_its_last_pixel_and_not_at_all():
    box = np.array([[-10.0, 0, 110, 100]])

    def mapped(clip, **rest):
        size = np.array([100.0])
        return dataclasses.replace(MAPPED, clip=clip).to_frame(box, size, size, **rest)[0].tolist()

    assert mapped("frame") == mapped(None) == [0, 0, 224, 224]
    assert mapped("last-pixel") == [0, 0, 223, 223]
    assert mapped("none") == pytest.approx([-22.4, 0, 246.4, 224])


def test_wsoleval_cuts_boxes_at_223_but_not_truth():
    # truth 0..224 has 225 pixels a side with "+1", the box 0..223 has 224
    assert iou(get_protocol("wsoleval-v1"), [0, 0, 100, 100], [0, 0, 100, 100]) == (224 / 225) ** 2
    assert iou(get_protocol("tscam-squash224"), [0, 0, 100, 100], [0, 0, 100, 100]) == 1


def test_squash_ignores_the_aspect():
    # half the width of a 200x50 image is half the width of the square
    assert iou(MAPPED, [0, 0, 200, 50], [0, 0, 100, 50], width=200, height=50) == pytest.approx(0.5)


def test_tscam_mixes_strictness_by_metric():
    # columns 0..9 of 224 pixels truth, 0..4 found: exactly one half
    scores = scored(
        get_protocol("tscam-squash224"), [[0, 0, 9, 9]], [[0, 0, 4, 9]], 224, 224, ranking=range(5)
    )
    assert scores.top_iou[0] == 0.5
    assert accuracy(scores, "gt_known_loc") == accuracy(scores, "gt_known_loc_multi") == 100
    assert accuracy(scores, "top1_loc") == accuracy(scores, "top5_loc") == 0
    assert scores.hit_rank.shape == (2, 1)


def test_psol_tests_with_more_than_at_inference_and_at_least_while_training():
    # a 256x256 image is mapped by whole pixels, so that one half is exact
    for name, expected in (("psol-crop224", 0), ("psol-first-box", 100)):
        scores = scored(get_protocol(name), [[16, 16, 26, 26]], [[16, 16, 21, 26]], 256, 256)
        assert scores.top_iou[0] == 0.5
        assert accuracy(scores, "gt_known_loc") == expected


def test_several_thresholds_are_averaged():
    # IoU 0.6 passes 0.3 and 0.5 but not 0.7
    several = EvalProtocol("several", iou_threshold=(0.3, 0.5, 0.7))
    scores = scored(several, [[0, 0, 10, 10]], [[0, 0, 10, 6]])
    assert accuracy(scores, "gt_known_loc") == pytest.approx(200 / 3)
    assert [hits(scores, threshold=t)[0] for t in several.thresholds] == [1, 1, 0]
    with pytest.raises(ValueError, match="several thresholds"):
        hits(scores)


def test_only_the_first_true_box_counts_if_the_protocol_says_so():
    truth, box = [[0, 0, 10, 10], [50, 50, 90, 90]], [[50, 50, 90, 90]]
    assert accuracy(scored(EvalProtocol("all"), truth, box), "gt_known_loc") == 100
    first = EvalProtocol("first", truth="first")
    assert accuracy(scored(first, truth, box), "gt_known_loc") == 0
    assert accuracy(scored(first, truth[::-1], box), "gt_known_loc") == 100


def test_the_blacklist_leaves_images_out_and_says_how_many():
    data_set = DataSet.from_records(
        ImageRecord(i, f"c/{i}.jpg", 9, 9, gt_boxes=[[0, 0, 5, 5]]) for i in range(3)
    )
    by_id = {i: ([[0, 0, 5, 5 - 4 * (i == 1)]], [1.0]) for i in range(3)}
    detections = detection_table(data_set, by_id)
    without = EvalProtocol("mine", blacklist=("c/1.jpg",))
    scores = score(data_set, detections, without)
    assert accuracy(scores, "gt_known_loc") == 100
    assert (scores.images.tolist(), scores.num_excluded, len(scores)) == ([0, 2], 1, 2)
    twice = dataclasses.replace(without, blacklist=("c/1.jpg", "c/7.jpg"))
    with pytest.raises(InputError, match=r"1 of 2 images of the blacklist.*\(c/7.jpg\).*'c/0.jpg'"):
        score(data_set, detections, twice)


# --- a user's own ------------------------------------------------------------------------------


def written(tmp_path, text, name="mine.yaml"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_a_yaml_file_is_a_protocol(tmp_path):
    path = written(
        tmp_path,
        "resize: 512\ncrop: 512\niou_threshold: [0.5, 0.9]\nstrict: false\naverage: class\n",
    )
    assert get_protocol(str(path)) == EvalProtocol(
        "mine", resize=512, crop=512, iou_threshold=(0.5, 0.9), strict=False, average="class"
    )


def test_a_yaml_file_may_start_from_a_preset_and_name_a_blacklist(tmp_path):
    written(tmp_path, "c/1.jpg\n\nc/2.jpg\n", "left_out.txt")
    path = written(tmp_path, "name: genpromp\nbase: tscam-squash224\nresize: 512\ncrop: 512\n"
                             "blacklist: left_out.txt\n")  # fmt: skip
    ours, base = load_protocol(path), get_protocol("tscam-squash224")
    assert (ours.name, ours.resize, ours.blacklist) == ("genpromp", 512, ("c/1.jpg", "c/2.jpg"))
    assert (ours.truncate, ours.strict_classified) == (base.truncate, base.strict_classified)
    assert "mine.yaml, tscam-squash224" in ours.source


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("rezise: 256", r"mine\.yaml: unknown field rezise; there are: base, name, resize"),
        ("resize: big", r"mine\.yaml: .*resize must be a whole number or null, got 'big'"),
        ("resize: 224\ncrop: 256", r"expected 0 < crop <= resize, got 256 and 224"),
        ("resize: 224", r"resize and crop"),
        ("clip: frame", r"clip needs a frame .*'frame' without"),
        ("truth: some", r"mine\.yaml: .*truth must be one of .*'some'"),
        ("pixel_offset: 2", r"pixel_offset must be one of \(0, 1\), got 2"),
        ("pixel_offset: true", r"pixel_offset must be 0 or 1, got True"),
        ("strict: 1", r"strict must be true or false, got 1"),
        ("iou_threshold: [0.5, 1.5]", r"iou_threshold must be in \(0, 1\)"),
        ("iou_threshold: []", r"iou_threshold must be in \(0, 1\)"),
        ("iou_threshold: [0.5, 0.5]", r"holds a number twice"),
        ("iou_threshold: half", r"iou_threshold must be a number or several, got 'half'"),
        ("truncate: true", r"truncate must be one of .*got True"),
        ("name: original", r"mine\.yaml: name 'original' is a preset's"),
        ("base: psol", r"mine\.yaml: base must be one of psol-crop224, .*got 'psol'"),
        ("blacklist: nowhere.txt", r"mine\.yaml: blacklist .*nowhere\.txt: no such file"),
        ("- 1", r"mine\.yaml: expected a mapping"),
        ("a: [", r"mine\.yaml, line 1: cannot be read as YAML"),
    ],
)
def test_wrong_yaml_names_file_and_field(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        load_protocol(written(tmp_path, text))


def test_a_missing_yaml_is_named():
    with pytest.raises(
        InputError, match=r"nowhere\.yaml: there is no such file; expected fields of a protocol"
    ):
        get_protocol("nowhere.yaml")


def test_presets_say_what_they_do_in_a_line():
    assert get_protocol("tscam-squash224").describe() == (
        "tscam-squash224: 224x224 squash, no crop, boxes cut at last pixel, truncated to whole "
        'pixels; IoU with "+1" pixel >= 0.5 (> for Top-1 and Top-5); mean over images'
    )
    assert ">= 0.3, 0.5, 0.7 (mean of)" in get_protocol("wsoleval-v2").describe()
    assert "first true box only" in get_protocol("psol-first-box").describe()
