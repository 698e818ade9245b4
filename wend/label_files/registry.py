"""Writers of label files by name, the user's own among them."""

from __future__ import annotations

from collections.abc import Callable

from wend.registry import Registry

LabelWriter = Callable[..., None]  # write(labelled_boxes, empty_folder, **options)
WRITERS: Registry[LabelWriter] = Registry("label format")
label_writer = WRITERS.register
