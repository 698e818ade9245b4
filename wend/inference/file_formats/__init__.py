"""The kinds of files that ``wend export`` writes and ``wend.load`` runs, a module each.

Each has ``check_can_write()``, an InputError where a package is missing;
``write(module, pixels, stated, path)``, which writes a module that takes pixels; and
``read(path, device)``, which returns what the file states and a function of pixels. A further one
is a module with these three and a row of :data:`FORMATS`.
"""

from typing import NamedTuple


class FileFormat(NamedTuple):
    """A kind of exported file.

    Attributes:
        ending: of its names.
        module: with ``write`` and ``read``.
    """

    ending: str
    module: str


FORMATS = {
    "onnx": FileFormat(".onnx", "wend.inference.file_formats.onnx_file"),
    "torchscript": FileFormat(".torchscript", "wend.inference.file_formats.torchscript_file"),
    "torch.export": FileFormat(".pt2", "wend.inference.file_formats.torch_export_file"),
}
