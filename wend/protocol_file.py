"""A user's own evaluation protocol, from a YAML file."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import yaml

from wend.errors import InputError, MissingFileError
from wend.protocol import PROTOCOLS, EvalProtocol


def load_protocol(path: str | Path) -> EvalProtocol:
    """A user's own protocol: a YAML mapping with fields of :class:`EvalProtocol`.

    ``base`` may name a preset whose other fields it takes; ``name`` is the file's by default;
    ``blacklist`` is a list of image keys, or a text file of them, one a line, beside the YAML.

    Raises:
        InputError: an unknown field or a wrong value; the message names file and field.
    """
    path = Path(path)
    fields = {"name": path.stem, **_read_mapping(path)}
    known = {field.name for field in dataclasses.fields(EvalProtocol)}
    unknown = [str(name) for name in fields if name not in known | {"base"}]
    if unknown:
        raise InputError(
            f"{path}: unknown field {', '.join(unknown)}; there are: base, "
            f"{', '.join(f.name for f in dataclasses.fields(EvalProtocol))}"
        )
    if fields["name"] in PROTOCOLS:
        raise InputError(f"{path}: name {fields['name']!r} is a preset's; choose another")
    base = fields.pop("base", None)
    if base is not None and base not in PROTOCOLS:
        raise InputError(f"{path}: base must be one of {', '.join(PROTOCOLS)}, got {base!r}")
    try:
        if isinstance(fields.get("blacklist"), str):
            fields["blacklist"] = _read_keys(path.parent / fields["blacklist"])
        if base is None:
            return EvalProtocol(**fields)
        return dataclasses.replace(PROTOCOLS[base], **{"source": f"{path}, {base}", **fields})
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _read_mapping(path: Path) -> dict:
    if not path.is_file():
        raise MissingFileError(f"{path}: no such protocol file")
    try:
        fields = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not YAML: {error}") from error
    if not isinstance(fields, dict):
        raise InputError(f"{path}: expected a mapping of protocol fields, got {fields!r}")
    return fields


def _read_keys(path: Path) -> tuple[str, ...]:
    if not path.is_file():
        raise MissingFileError(f"blacklist {path}: no such file")
    lines = path.read_text(encoding="utf-8").splitlines()
    return tuple(line.strip() for line in lines if line.strip())
