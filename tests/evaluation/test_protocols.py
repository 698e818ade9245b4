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
    """Each image with up to six boxes near its truth (some whole, some a half) and classes.

    A third of the images have boxes that may reach out of the image; most reach out of a crop.
    """
    made = []
    for image in map(dict, images):
        w, h = image["width"], image["height"]
        truth = np.array(image["gt_boxes"])[rng.integers(0, len(image["gt_boxes"]), 6)]
        boxes = truth + rng.normal(0, 0.2, (6, 4)) * np.tile(truth[:, 2:] - truth[:, :2], 2)
        boxes[::2] = np.round(boxes[::2])
        if rng.random() < 2 / 3:
            boxes = boxes.clip(0, [w, h, w, h])
        boxes = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]),
                                np.maximum(boxes[:, :2], boxes[:, 2:])], 1)  # fmt: skip
        if halves and rng.random() < 0.3:
            boxes[0] = truth[0]
            boxes[0, 2] = (truth[0, 0] + truth[0, 2]) / 2
        image["boxes"] = boxes[: rng.integers(0, 7)].tolist()
        image["class_ranking"] = (image["class_id"] + rng.permutation(9)).tolist()
        made.append(image)
    return made


def whole_boxes(images, rng, frame):
    """Each image with up to six whole-number boxes near its truth, in a frame."""
    made = []
    for image in map(dict, images):
        size = np.tile([image["width"], image["height"]], 2)
        truth = np.array(image["gt_boxes"])[rng.integers(0, len(image["gt_boxes"]), 6)]
        truth = truth / size * frame.resize - (frame.resize - frame.crop) / 2
        boxes = truth + rng.normal(0, 0.2, (6, 4)) * np.tile(truth[:, 2:] - truth[:, :2], 2)
        boxes = np.round(boxes).clip(0, frame.crop)
        boxes = np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]),
                                np.maximum(boxes[:, :2], boxes[:, 2:])], 1)  # fmt: skip
        image["frame_boxes"] = boxes[: rng.integers(0, 7)].astype(int).tolist()
        image["class_ranking"] = (image["class_id"] + rng.permutation(9)).tolist()
        made.append(image)
    return made


def as_tables(images):
    """Data set, detections (in the frame of their boxes) and ranks of the true classes."""
    data_set = DataSet.from_records(
        ImageRecord(i, "x", d["width"], d["height"], class_id=d["class_id"], gt_boxes=d["gt_boxes"])
        for i, d in enumerate(images)
    )
    boxes = [d.get("frame_boxes", d.get("boxes")) for d in images]
    detections = BoxTable.from_lists(boxes, [-np.arange(len(each)) for each in boxes])
    classes = ClassPredictions({i: d["class_ranking"] for i, d in enumerate(images)})
    return data_set, detections, classes.ranks(data_set)


@pytest.fixture(scope="module", params=["ILSVRC/test", "CUB/test"])
def truth(request, shared):
    images = reference.read_metadata(shared / "data/wsol_metadata" / request.param)
    chosen = np.random.default_rng(5).permutation(len(images))[:800]
    return [images[i] for i in chosen]


def same_as_the_peer(name, images, data_set, detections, ranks):
    scores = score(data_set, detections, get_protocol(name), ranks)
    for k in (1, 3, 5, 10, None):
        theirs, overlaps = peers.PEERS[name](images, k)
        for metric, value in theirs.items():
            assert accuracy(scores, metric, k) == pytest.approx(value, abs=1e-9), (metric, k)
    assert len(set(theirs.values())) == 5  # the case tells metrics apart
    np.testing.assert_allclose(scores.top_iou, [f[0] if f else 0 for f in overlaps], atol=1e-9)
    np.testing.assert_allclose(scores.best_iou, [max(f, default=0) for f in overlaps], atol=1e-9)
    return scores


@pytest.mark.parametrize("name", PROTOCOLS)
def test_preset_equals_the_peers_arithmetic_on_real_truth(truth, name):
    # an exact half is 0.5 in whole or original pixels; in others its last bit is rounding
    protocol = get_protocol(name)
    halves = protocol.frame is None or protocol.truncate != "none"
    images = jittered(truth, np.random.default_rng(11), halves)
    same_as_the_peer(name, images, *as_tables(images))


@pytest.mark.parametrize("name", [name for name, p in PROTOCOLS.items() if p.frame])
def test_preset_takes_whole_boxes_of_its_frame_as_the_peer_made_them(truth, name):
    protocol = get_protocol(name)
    images = whole_boxes(truth, np.random.default_rng(7), protocol.frame)
    data_set, boxes, ranks = as_tables(images)
    detections = boxes.given_in(protocol.frame, data_set.sizes)
    scores = same_as_the_peer(name, images, data_set, detections, ranks)
    if (
        protocol.truncate != "none" and protocol.resize == 224
    ):  # by way of original pixels a whole number may lose one
        travelled = dataclasses.replace(detections, given=None)
        other = score(data_set, travelled, protocol, ranks)
        assert (np.abs(other.top_iou - scores.top_iou) > 1e-9).mean() > 0.01


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


def in_frame(protocol, boxes, size, **truth):
    """Boxes (n, 4) in original pixels of an image of a size, in the protocol's frame."""
    table = BoxTable.from_lists([boxes])
    rows = np.arange(len(table.boxes))
    return protocol.to_frame(table, rows, np.tile(np.array(size, float), (len(rows), 1)), **truth)


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
        order: in_frame(dataclasses.replace(MAPPED, truncate=order), box, [w, 10])
        for order in ("multiply-first", "divide-first")
    }
    assert mapped["multiply-first"][0, 2] == x * 224 // w == mapped["divide-first"][0, 2] + 1


def test_clipping_at_the_frame_at_its_last_pixel_and_not_at_all():
    def mapped(truth=False, **fields):
        protocol = dataclasses.replace(MAPPED, **fields)
        return in_frame(protocol, [[-10.0, 0, 110, 100]], [100, 100], truth=truth)[0].tolist()

    assert mapped(clip="frame") == [0, 0, 224, 224]
    assert mapped(clip="last-pixel") == [0, 0, 223, 223]
    assert mapped() == mapped(clip="none") == pytest.approx([-22.4, 0, 246.4, 224])
    assert mapped(truth=True) == [0, 0, 224, 224]
    assert mapped(truth=True, clip_truth="last-pixel") == [0, 0, 223, 223]
    assert mapped(truth=True, clip_truth="none") == pytest.approx([-22.4, 0, 246.4, 224])


def test_psol_does_not_clip_a_box_that_reaches_out_of_the_crop():
    # image 256x256: the crop is 16..240. Truth [130, 130, 256, 256] is [114, 114, 240, 240] in the
    # crop and clipped to [114, 114, 224, 224]: 110 x 110. The network says x = y = 0.5 and
    # w = h = 0.9: [112, 112, 313.6, 313.6] of the crop, 201.6 x 201.6. All of the truth lies in
    # it: IoU = 110^2 / 201.6^2. Clipped to [112, 112, 224, 224] it would be 110^2 / 112^2.
    truth, output = [130, 130, 256, 256], np.array([0.5, 0.5, 0.9, 0.9]) * 224
    box = np.array([*output[:2], *(output[:2] + output[2:])]) + 16
    np.testing.assert_allclose(box, [128, 128, 329.6, 329.6])
    size = {"width": 256, "height": 256}
    assert iou(get_protocol("psol-crop224"), truth, box, **size) == pytest.approx(
        110**2 / 201.6**2, abs=1e-12
    )
    assert 110**2 / 201.6**2 == pytest.approx(0.298, abs=5e-4)
    clipped = dataclasses.replace(get_protocol("psol-crop224"), name="clipped", clip="frame")
    assert iou(clipped, truth, box, **size) == pytest.approx(110**2 / 112**2, abs=1e-12)
    # while it trains, PSOL clamps x + w and y + h of the network
    assert iou(get_protocol("psol-first-box"), truth, box, **size) == pytest.approx(110**2 / 112**2)


def test_tscam_does_not_cut_a_box_at_its_last_pixel():
    # x + w of a bounding rectangle may be 224: 225 pixels a side, of the truth's 224
    data_set = DataSet.from_records([ImageRecord(1, "a", 100, 90, gt_boxes=[[0, 0, 100, 90]])])
    for name, side in (("tscam-squash224", 224), ("genpromp-squash512", 512)):
        box = [[0, 0, 100, 100]]
        expected = pytest.approx((side / (side + 1)) ** 2)
        assert scored(get_protocol(name), box, box).top_iou[0] == expected
        whole = BoxTable.from_lists([[[0, 0, side, side]]], [[1]])
        given = whole.given_in(f"squash{side}", data_set.sizes)
        assert score(data_set, given, get_protocol(name)).top_iou[0] == expected
        assert score(data_set, given, get_protocol("original")).top_iou[0] == 1


def test_bas_counts_whole_pixels_in_a_continuous_frame():
    # a 256x256 image: truth 0..50 of the crop, box 0..24: 25 of 51 columns, 50 x 51 rows alike
    box = [[16, 16, 40, 66]]
    scores = scored(get_protocol("bas-crop224"), [[16, 16, 66, 66]], box, 256, 256)
    assert scores.top_iou[0] == pytest.approx(25 / 51)


def test_a_c2am_map_sees_truth_outside_its_crop():
    # a 480x480 image: the crop is 16..464; the truth 0..116 is -16..100 there, the box 0..100
    scores = scored(
        get_protocol("c2am-crop448"), [[0, 0, 116, 116]], [[16, 16, 116, 116]], 480, 480
    )
    assert scores.top_iou[0] == pytest.approx((100 / 116) ** 2)


def test_boxes_of_another_frame_go_to_the_protocols_without_the_images_size():
    # a quarter in fractions is 56 of 224 whatever the image, also of 37 pixels
    data_set = DataSet.from_records([ImageRecord(1, "a", 37, 91, gt_boxes=[[0, 0, 37, 91]])])
    table = BoxTable.from_lists([[[0.25, 0, 0.5, 1]]], [[1]]).given_in("fractions", data_set.sizes)
    for name in ("wsoleval-v1", "tscam-squash224"):
        protocol = get_protocol(name)
        mapped = protocol.to_frame(table, np.array([0]), data_set.sizes)
        last = 224 - (protocol.clip == "last-pixel")
        assert mapped.tolist() == [[56, 0, 112, last]]
    crop = BoxTable.from_lists([[[40, 0, 112, 224]]], [[1]]).given_in("crop224", data_set.sizes)
    mapped = get_protocol("psol-crop224").to_frame(crop, np.array([0]), data_set.sizes)
    assert mapped.tolist() == [[40, 0, 112, 224]]
    # the crop's 40 is 56 of 256, a fraction of 7/32: 49 of 224
    mapped = get_protocol("tscam-squash224").to_frame(crop, np.array([0]), data_set.sizes)
    assert mapped.tolist() == [[49, 14, 112, 210]]


def test_wsoleval_cuts_boxes_at_223_but_not_truth():
    # truth 0..224 has 225 pixels a side with "+1", the box 0..223 has 224
    assert iou(get_protocol("wsoleval-v1"), [0, 0, 100, 100], [0, 0, 100, 100]) == (224 / 225) ** 2
    # TS-CAM cuts truth at 223 but not boxes
    assert iou(get_protocol("tscam-squash224"), [0, 0, 100, 100], [0, 0, 99.9, 99.9]) == 1


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
        ("resize: big", r"mine\.yaml: .*resize must be a whole number .*null, got 'big'"),
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
        ("blacklist: nowhere.txt", r"mine\.yaml: .*nowhere\.txt: .*expected the blacklist"),
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
        "tscam-squash224: 224x224 squash, no crop, truth cut at last pixel, boxes not clipped, "
        'truncated to whole pixels; IoU with "+1" pixel >= 0.5 (> for Top-1 and Top-5); mean over '
        "images"
    )
    assert ">= 0.3, 0.5, 0.7 (mean of)" in get_protocol("wsoleval-v2").describe()
    assert "first true box only" in get_protocol("psol-first-box").describe()
