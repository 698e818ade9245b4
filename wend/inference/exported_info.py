"""What an exported file says about itself, beside its graph: enough to predict with it alone."""

from __future__ import annotations

import msgspec

from wend.errors import InputError
from wend.modeling.layers.box_choice import Choice

KEY = "wend"  # of the file's metadata
VERSION = 1  # of what is stated, to be raised when a reader could not go on


class _Versioned(msgspec.Struct):
    version: int


class Stated(msgspec.Struct, frozen=True):
    """Stated by every exported file, as JSON.

    Attributes:
        version: :data:`VERSION`.
        made_with: names and versions of the packages that wrote the file.
        engine, detector: which detector it is.
        config: the detector's config, YAML.
        exif: how photos of its training were turned.
        view: how photos become crops, see :class:`wend.structures.view.View`.
        resize: side in pixels of the square that photos are resized to.
        side: height and width in pixels of the crop of it, the centre, that the graph takes.
        chosen: whether the choice is made in the graph, so that its output are the final boxes.
        choice: among the candidates, see :class:`wend.modeling.candidates.base.Choice`.
    """

    version: int
    made_with: dict[str, str]
    engine: str
    detector: str
    config: str
    exif: str
    view: str
    resize: int
    side: int
    chosen: bool
    choice: Choice

    def encoded(self) -> str:
        """The statement as JSON."""
        return msgspec.json.encode(self).decode()


def decoded(text: str, path: object) -> Stated:
    """The statement of a file.

    Raises:
        InputError: it is none, or of another version.
    """
    try:
        version = msgspec.json.decode(text.encode(), type=_Versioned).version
        if version != VERSION:
            raise InputError(
                f"{path}: was written by another version of `wend export` (its layout is "
                f"{version}, this one's {VERSION}); export the detector again"
            )
        return msgspec.json.decode(text.encode(), type=Stated)
    except (msgspec.MsgspecError, UnicodeError) as error:
        raise InputError(
            f"{path}: what it states under {KEY!r} is not as `wend export` writes it ({error}); "
            f"export the detector again"
        ) from error
