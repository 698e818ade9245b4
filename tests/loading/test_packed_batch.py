"""A batch that goes through a worker comes out as it was, its images one after the other."""

import pickle
from multiprocessing.reduction import ForkingPickler

import pytest
import torch
from torch.utils.data import DataLoader

from wend.loading.packed_batch import PackedBatch
from wend.modeling.layers.image_batch import image_batch, stacked


def _examples(number=4, side=6):
    draw = torch.Generator().manual_seed(0)
    examples = []
    for index in range(number):
        image = torch.randint(0, 256, (3, side, side), generator=draw, dtype=torch.uint8)
        boxes = torch.rand(index, 4, generator=draw)
        examples.append({"image": image, "boxes": boxes, "id": f"{index}", "n": torch.tensor(3)})
    return examples


def _sent(examples):
    return [*pickle.loads(ForkingPickler.dumps(PackedBatch(examples)))]  # noqa: S301 (our own)


def _assert_equal(examples, others):
    for example, other in zip(examples, others, strict=True):
        assert example.keys() == other.keys()
        for value, sent in zip(example.values(), other.values(), strict=True):
            if not isinstance(value, torch.Tensor):
                assert sent == value
                continue
            assert (sent.dtype, sent.shape) == (value.dtype, value.shape)
            assert sent.is_contiguous()
            assert torch.equal(sent, value)


def test_examples_come_out_as_they_went_in():
    examples = _examples()
    examples[1]["image"] = examples[1]["image"].transpose(1, 2)  # not contiguous
    examples[2]["again"] = examples[2]["boxes"]
    others = _sent(examples)
    _assert_equal(examples, others)
    others[2]["again"][0, 0] = 7  # one tensor is still one
    assert others[2]["boxes"][0, 0] == 7
    _assert_equal([], _sent([]))


def test_a_tensor_travels_for_each_type_of_numbers():
    _, tensors = PackedBatch(_examples())._packed()
    assert {tensor.dtype: tensor.numel() for tensor in tensors} == {
        torch.uint8: 4 * 3 * 36,
        torch.float32: (0 + 1 + 2 + 3) * 4,
        torch.int64: 4,
    }


def test_what_is_no_tensor_of_numbers_in_memory_travels_by_itself():
    weight = torch.nn.Parameter(torch.ones(2))
    sparse = torch.eye(2).to_sparse()
    ragged = torch.nested.nested_tensor([torch.ones(2), torch.zeros(3)])
    (other,) = _sent([{"weight": weight, "sparse": sparse, "ragged": ragged}])
    assert [len(part) for part in other["ragged"].unbind()] == [2, 3]
    assert isinstance(other["weight"], torch.nn.Parameter)
    assert torch.equal(other["weight"], weight)
    assert torch.equal(other["sparse"].to_dense(), torch.eye(2))


@pytest.mark.parametrize("workers", [0, 2])
def test_images_are_stacked_already(workers):
    loader = DataLoader(_examples(6), 3, num_workers=workers, collate_fn=PackedBatch)
    for batch, examples in zip(loader, (_examples(6)[:3], _examples(6)[3:]), strict=True):
        batch = [*batch]
        _assert_equal(examples, batch)
        images = [example["image"] for example in batch]
        assert (stacked(images).data_ptr() == images[0].data_ptr()) == bool(workers)
        assert torch.equal(stacked(images), torch.stack([each["image"] for each in examples]))


def test_a_pinned_batch_is_the_same_batch(monkeypatch):
    pinned = []

    def pin_memory(tensor):  # there may be no GPU here
        pinned.append(tensor.clone())
        return pinned[-1]

    monkeypatch.setattr(torch.Tensor, "pin_memory", pin_memory)
    examples = [*PackedBatch(_examples()).pin_memory()]
    _assert_equal(_examples(), examples)
    assert examples[0]["image"].untyped_storage().data_ptr() == pinned[0].data_ptr()
    assert len(pinned) == 3


def _batches():
    images = [example["image"] for example in _sent(_examples(7))]
    yield "all", images, True
    yield "of a micro-batch", images[1::3], True
    yield "one", images[2:3], True
    yield "in another order", [images[i] for i in (2, 0, 1)], False
    yield "backwards", images[::-1], False
    yield "one of them twice", [images[0], images[0], images[1]], False
    yield "one of them brighter", [images[0], images[1] + 1, images[2]], False
    yield "one of them mirrored", [images[0], images[1].flip(2), images[2]], False
    yield "one of them turned", [images[0], images[1].transpose(1, 2), images[2]], False
    yield "of other numbers", [images[0], images[1].view(torch.int8), images[2]], False
    yield "rows of a tensor", torch.zeros(3, 3, 4, 4).unbind(0), True
    yield "of several batches", [images[0], _sent(_examples(1))[0]["image"]], False


@pytest.mark.parametrize(
    ("images", "together"), [pytest.param(*rest, id=name) for name, *rest in _batches()]
)
def test_a_batch_is_the_stack_of_its_images_whatever_was_done_to_them(images, together):
    images = list(images)
    result = stacked(images)
    assert torch.equal(result, torch.stack(images))
    assert (result.data_ptr() == images[0].data_ptr()) == together


def test_a_batch_sees_what_is_written_into_its_images():
    images = [example["image"] for example in _sent(_examples(3))]
    images[1].zero_()
    mean, std = torch.zeros(3, 1, 1), torch.ones(3, 1, 1)
    assert not image_batch(images, mean, std).tensor[1].any()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize("sides", [(6, 6), (6, 4)], ids=["one size", "sizes"])
def test_images_of_any_floats_become_the_detectors(dtype, sides):
    images = [torch.full((3, side, side), 7.0, dtype=dtype) for side in sides]
    batch = image_batch(images, torch.full((3, 1, 1), 3.0), torch.full((3, 1, 1), 2.0))
    assert batch.tensor.dtype == torch.float32
    assert batch.tensor[0].unique().tolist() == [2.0]
