"""Plain data to YAML. Every scalar is a JSON string or number, which is YAML too: nothing in it can become structure."""

import json
import re
from collections.abc import Mapping
from typing import Any

_NOT_PRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ufeff\ufffe\uffff]")
_SHORT = 100
_PLAIN_KEY = re.compile(r"(?!(?i:true|false|null|yes|no|on|off|y|n)$)[A-Za-z][A-Za-z0-9_./-]*")
"""Without the words that YAML 1.1 reads as something else than text."""


def yaml_text(value: Mapping[str, Any]) -> str:
    """A mapping as a YAML document, lists on one line where they are short."""
    return "\n".join(_mapping(value, "")) + "\n"


def scalar(value: object) -> str:
    """One JSON scalar or list; characters that YAML does not take as they are, are spelled out."""
    return _NOT_PRINTABLE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(value, ensure_ascii=False))


def _mapping(value: Mapping[str, Any], indent: str) -> list[str]:
    lines: list[str] = []
    for key, inner in value.items():
        name = key if _PLAIN_KEY.fullmatch(key) else scalar(key)
        lines += _entry(f"{indent}{name}:", inner, indent)
    return lines


def _entry(start: str, value: Any, indent: str) -> list[str]:
    if isinstance(value, Mapping) and value:
        return [start, *_mapping(value, indent + "  ")]
    if isinstance(value, list) and value:
        line = f"{start} {scalar(value)}"
        if all(isinstance(item, str | int) for item in value) and len(line) <= _SHORT:
            return [line]
        return [start, *(line for item in value for line in _item(item, indent + "  "))]
    return [f"{start} {scalar(value)}"]


def _item(item: Any, indent: str) -> list[str]:
    if isinstance(item, Mapping) and item:
        lines = _mapping(item, indent + "  ")
        return [f"{indent}- {lines[0].strip()}", *lines[1:]]
    return [f"{indent}- {scalar(item)}"]
