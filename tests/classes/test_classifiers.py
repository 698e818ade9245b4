"""wend.classes.classifiers: local checkpoints become models, or an error that says what differs."""

import numpy as np
import pytest
import torch
from classifier_models import EFFICIENTNET, TIMM, efficientnet

from wend.classes import classifiers
from wend.classes.classifiers import build_classifier, top_classes
from wend.errors import InputError, MissingFileError
from wend.structures.data_set import DataSet
from wend.structures.records import ImageRecord


def test_canonical_b7_resizes_the_short_side_to_600_by_0_949_bicubic(tmp_path, monkeypatch):
    # B7 is large; only its sizes matter
    monkeypatch.setattr(classifiers, "load_weights", lambda *args: None)
    monkeypatch.setattr(classifiers, "read_weights", lambda path: {"_fc.weight": torch.zeros(7, 1)})
    pytest.importorskip("efficientnet_pytorch", reason=EFFICIENTNET)
    with torch.device("meta"):
        built = build_classifier("efficientnet-b7", tmp_path / "x", "canonical")
    assert built.preprocessing.resize == round(600 / 0.949) == 632
    assert (built.preprocessing.crop, built.num_classes) == (600, 7)
    assert built.preprocessing.keep_aspect
    assert built.preprocessing.interpolation == "bicubic"


def test_ten_crop_averages_the_softmax_over_the_crops():
    logits = torch.randn(3 * 10, 7)
    classes, scores = top_classes(lambda images: logits, torch.zeros(3, 10, 3, 4, 4), 5)
    mean = logits.softmax(1).view(3, 10, 7).mean(1)
    assert classes == mean.topk(5).indices.tolist()
    np.testing.assert_allclose(scores, mean.topk(5).values.numpy(), rtol=1e-5)


def test_timm_errors_name_the_model_and_what_does_not_fit(tmp_path):
    pytest.importorskip("timm", reason=TIMM)
    with pytest.raises(InputError, match=r"timm has no such model; near: .*test_resnet"):
        build_classifier("timm:test_res", tmp_path / "x", "canonical")
    with pytest.raises(InputError, match=r"takes only 160x160 pixels, .* gives 600x600"):
        build_classifier("timm:test_vit", tmp_path / "x", "c2am-685-600")


def test_a_checkpoint_decides_the_number_of_classes(tmp_path):
    state = efficientnet(num_classes=9).state_dict()
    torch.save(state, tmp_path / "w.pth")
    built = build_classifier("efficientnet-b0", tmp_path / "w.pth", "canonical", crop=64)
    assert built.num_classes == 9
    for name, value in built.model.state_dict().items():
        assert torch.equal(value, state[name])


def test_checkpoints_that_do_not_fit_say_what_differs(tmp_path):
    state = efficientnet().state_dict()
    file = tmp_path / "w.pth"

    def build(content, name="efficientnet-b0"):
        torch.save(content, file)
        return build_classifier(name, file, "canonical", crop=64)

    with pytest.raises(InputError, match=r"w\.pth: .*1 missing in the file \(_bn1\.bias\)"):
        build({k: v for k, v in state.items() if k != "_bn1.bias"})
    with pytest.raises(InputError, match=r"its classifier _fc\.weight is missing"):
        build({"conv1.weight": torch.zeros(1)})
    with pytest.raises(InputError, match="missing in the file"):
        build(state, "efficientnet-b1")
    with pytest.raises(InputError, match="expected one of efficientnet-b0"):
        build(state, "efficientnet-b77")


def test_a_reading_process_names_the_image_without_a_traceback(tmp_path):
    torch.save(efficientnet().state_dict(), tmp_path / "b0.pth")
    built = build_classifier("efficientnet-b0", tmp_path / "b0.pth", "canonical", crop=64)
    data_set = DataSet.from_records([ImageRecord(1, str(tmp_path / "gone.png"), 9, 9)])
    with pytest.raises(MissingFileError, match=r"^\S*gone\.png: there is no such image file$"):
        list(classifiers.predict(built, data_set, [[0]], torch.device("cpu"), num_workers=1))
