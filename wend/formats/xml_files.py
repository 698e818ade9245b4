"""XML files of others, read so that an error names them and no entity is ever expanded."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from wend.errors import InputError
from wend.files import open_bytes


def read_xml(path: Path, whose: str, tag: str) -> ElementTree.Element:
    """The root of an XML file.

    Args:
        whose: whose file it is, for messages.
        tag: of the root.

    Raises:
        MissingFileError, InputError: not there, no whole XML, entities in it, or another root.
    """
    with open_bytes(path, f"{whose} XML") as file:
        data = file.read()
    if data.startswith(b"PK\x03\x04"):
        raise InputError(f"{path}: a ZIP archive, expected {whose} XML; unpack it first")
    if b"<!ENTITY" in data or b"<\0!\0E\0N" in data or b"\0<\0!\0E\0N" in data:
        raise InputError(
            f"{path}: declares XML entities, which {whose} files never do; it is not read"
        )
    try:
        root = ElementTree.fromstring(data)  # noqa: S314  # entities are refused above
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise InputError(f"{path}: not a whole XML file ({error}); expected {whose} XML") from error
    if root.tag != tag:
        raise InputError(f"{path}: expected an <{tag}> of {whose} XML, got <{root.tag}>")
    return root
