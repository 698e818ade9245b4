"""XML of label files."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

from wend.errors import InputError

_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # XML 1.0, 2.2


def add(parent: ElementTree.Element, tag: str, text: object) -> ElementTree.Element:
    """Add an element with text."""
    element = ElementTree.SubElement(parent, tag)
    element.text = str(text)
    return element


def write_xml(path: Path, root: ElementTree.Element) -> None:
    """Write an element as a file, indented.

    Raises:
        InputError: a text with a character that XML cannot hold.
    """
    for element in root.iter():
        for text in (element.text or "", *element.attrib.values()):
            if _NO_XML.search(text):
                raise InputError(
                    f"{path.name}: {text!r} holds a control character, which XML cannot; rename it"
                )
    ElementTree.indent(root)
    path.parent.mkdir(parents=True, exist_ok=True)
    ElementTree.ElementTree(root).write(path, encoding="utf-8", xml_declaration=True)
