"""A JSON schema of configs, by which editors complete and check a YAML while it is written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from fvcore.common.config import BASE_KEY, CfgNode

from wend.config.detectron2_entries import DETECTRON2_NODES
from wend.config.entries import Entry
from wend.config.node import EARLIER, wend_tables

_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
# CfgNode reads a text such as ("cub_train_c2am",) as the list that it is in Python
_LIST_AS_TEXT = {"type": "string", "pattern": r"^\s*[\[(][\s\S]*[\])]\s*$"}


def entry_tables() -> dict[str, Entry]:
    """All entries that have a meaning, by their whole names: WEND's and Detectron2's."""
    tables = {**DETECTRON2_NODES, **wend_tables()}
    return {
        f"{node}.{entry.name}" if node else entry.name: entry
        for node, entries in tables.items()
        for entry in entries
    }


def config_schema(cfg: CfgNode, *, is_whole: bool) -> dict[str, Any]:
    """The schema (draft 7) of the YAMLs that can be merged into a config.

    It checks names, types and the range of each entry alone. What entries must have in common, and
    whether a number is written with a point, is checked when the YAML is read.

    Args:
        cfg: the defaults of an engine.
        is_whole: whether these are all entries that there are; otherwise nodes other than ``WEND``
            may have further ones.
    """
    schema = _node_schema(cfg, "", entry_tables(), is_whole)
    base = {"type": "string", "description": "A YAML relative to this one, or a config of WEND's."}
    schema["properties"][BASE_KEY] = {"anyOf": [base, {"type": "array", "items": base}]}
    for name, (default, instead) in EARLIER.items():
        node, _, entry = name.partition(".")
        schema["properties"][node]["properties"][entry] = {
            "const": default,
            "deprecated": True,
            "description": f"Of earlier versions; another value is {instead} now.",
        }
    about = {"$schema": "http://json-schema.org/draft-07/schema#", "title": "A config of WEND's"}
    return {**about, **schema}


def _node_schema(
    node: CfgNode, prefix: str, entries: dict[str, Entry], is_whole: bool
) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    for name, value in node.items():
        whole_name = f"{prefix}{name}"
        if isinstance(value, CfgNode):
            properties[name] = _node_schema(value, f"{whole_name}.", entries, is_whole)
        else:
            properties[name] = _value_schema(value, entries.get(whole_name))
    is_closed = is_whole or prefix.startswith("WEND.")
    return {"type": "object", "properties": properties, "additionalProperties": not is_closed}


def _value_schema(default: Any, entry: Entry | None) -> dict[str, Any]:
    allowed = {} if entry is None or entry.range is None else dict(entry.range.schema)
    about: dict[str, Any] = {"default": _plain(default)}
    if entry is not None:
        values = "" if entry.range is None else f" Values: {entry.range.text}."
        about["description"] = entry.meaning + values
    if isinstance(default, list | tuple):
        items = {"type": "array", "items": _items_schema(default), **allowed}
        return {"anyOf": [items, _LIST_AS_TEXT], **about}
    if type(default) in _TYPES:
        return {"type": _TYPES[type(default)], **allowed, **about}
    return {**allowed, **about}


def _items_schema(items: Sequence[Any]) -> dict[str, Any]:
    """What is said of a list's items by those of its default: texts, numbers, or nothing."""
    if items and all(isinstance(item, str) for item in items):
        return {"type": "string"}
    if items and all(type(item) in (int, float) for item in items):
        return {"type": "number"}
    return {}


def _plain(value: Any) -> Any:
    return [_plain(item) for item in value] if isinstance(value, list | tuple) else value
