"""A detector on either engine, built from the tiny config and called with plain tensors."""

import torch
from engine_runs import d2_config, d2_inputs, tv_config

ENGINES = ("detectron2", "torchvision")


def config(engine, detector, changes=None):
    """The engine's config of a detector of :data:`engine_runs.DETECTORS`."""
    read = {"detectron2": d2_config, "torchvision": tv_config}[engine]
    return read(detector, changes)


def file_config(engine, path, options):
    """A file of configs/ with ``KEY VALUE`` overrides, read as ``train_net.py`` reads it."""
    if engine == "detectron2":
        from wend.d2.run import read_config
    else:
        from wend.tv.run import read_config
    return read_config(str(path), options)


def build(engine, cfg):
    """The detector that a config describes, with initial values of seed 0, in training."""
    if engine == "detectron2":
        from detectron2.modeling import build_model

        import wend.d2  # noqa: F401  (registers detectors)
    else:
        from wend.tv.models import build_model
    torch.manual_seed(0)
    return build_model(cfg).train()


def losses(engine, model, crops, image_ids=None):
    """Loss terms of a detector in training on crops: pairs of an image and boxes (P, 4)."""
    names = [{}] * len(crops) if image_ids is None else [{"image_id": name} for name in image_ids]
    if engine == "detectron2":
        from detectron2.utils.events import EventStorage

        with EventStorage():
            return model(
                [{**one, **name} for one, name in zip(d2_inputs(crops), names, strict=True)]
            )
    label = model.foreground_label
    targets = [
        {"boxes": boxes, "labels": torch.full((len(boxes),), label, dtype=torch.int64), **name}
        for (_, boxes), name in zip(crops, names, strict=True)
    ]
    return model([image.float() for image, _ in crops], targets)


@torch.no_grad()
def detections(engine, model, crops):
    """For each image boxes (P, 4) and scores (P,) of a detector in evaluation."""
    if engine == "detectron2":
        instances = [output["instances"] for output in model(d2_inputs(crops))]
        return [(image.pred_boxes.tensor, image.scores) for image in instances]
    outputs = model([image.float() for image, _ in crops])
    return [(output["boxes"], output["scores"]) for output in outputs]


def optimizer(engine, cfg, model):
    """The optimizer that the engine's training makes."""
    if engine == "detectron2":
        from wend.d2.trainer import Trainer

        return Trainer.build_optimizer(cfg, model)
    from wend.tv.engine import build_optimizer

    return build_optimizer(cfg, model)
