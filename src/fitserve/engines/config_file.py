"""Servers that are told by a YAML file: options as keys of its sections, values by their declared types, the text itself.

Rows of the option list are keys (`model.cache_size`); `--set` names one in full or by its last part.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from fitserve.engines.option_lists import option_names, option_row
from fitserve.foundation.errors import InputError

_YES, _NO = {"true", "yes", "on", "1"}, {"false", "no", "off", "0"}
# JSON leaves these as they are; YAML 1.2 (5.1) allows them only escaped
_NOT_PRINTABLE = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff\ufeff\ufffe\uffff]")


def key_row(package: str, version: str, option: str) -> Mapping[str, Any] | None:
    """The row of an option, written with dashes or underscores, with or without its section; None when it is none."""
    return option_row(package, version, option.replace("-", "_"))


def unknown_keys(package: str, version: str, options: Mapping[str, str]) -> Iterator[str]:
    """Options that are no keys of this version."""
    names = option_names(package, version)
    return (option for option in options if option.replace("-", "_") not in names)


def given_keys(package: str, version: str, options: Mapping[str, str]) -> dict[str, Any]:
    """Values of the options by full key; unknown ones are left out. Raises InputError for a value of the wrong kind."""
    found: dict[str, Any] = {}
    for option, text in options.items():
        row = key_row(package, version, option)
        if row is not None:
            found[row["name"]] = typed_value(row, text)
    return found


def typed_value(row: Mapping[str, Any], text: str) -> Any:
    """A value as its row declares it; lists are written with commas. Raises InputError."""
    if row.get("arity") == "*":
        parts = [part.strip() for part in text.strip().removeprefix("[").removesuffix("]").split(",")]
        return [_one(row, part, text) for part in parts if part]
    return _one(row, text.strip(), text)


def accepts(row: Mapping[str, Any], value: Any) -> bool:
    """Whether a value has the type, choice and limits that its row declares."""
    if value is None:
        return row["default"] is None
    if row.get("arity") == "*":
        return isinstance(value, list) and all(_is_allowed(row, item) for item in value)
    return _is_allowed(row, value)


_KINDS: Mapping[str, type | tuple[type, ...]] = {
    "integer": int, "number": (int, float), "boolean": bool, "string": str, "mapping": dict,
}  # fmt: skip


def _is_allowed(row: Mapping[str, Any], value: Any) -> bool:
    kind = row["value_type"]
    if isinstance(value, str) and ("choices" in row or "pattern" in row):
        # servers compare names of lists without regard to case
        choices = {choice.lower() for choice in row.get("choices", ())}
        return value.lower() in choices or bool(re.search(row.get("pattern", "(?!)"), value))
    if not isinstance(value, _KINDS[kind]) or (isinstance(value, bool) and kind != "boolean"):
        return False
    if not isinstance(value, int | float):
        return True
    return (
        value >= row.get("at_least", value)
        and value > row.get("above", value - 1)
        and not ("multiple_of" in row and value % row["multiple_of"])
    )


def _one(row: Mapping[str, Any], text: str, whole: str) -> Any:
    value: Any = text
    try:
        match row["value_type"]:
            case "integer":
                value = int(text)
            case "number":
                value = text if text in row.get("choices", ()) else float(text)
            case "boolean":
                value = {True: True, False: False}[text.lower() in _YES] if text.lower() in _YES | _NO else None
            case "mapping":
                value = json.loads(text)
    except ValueError:
        value = None
    if value is None or not _is_allowed(row, value):
        raise InputError.of("option_wrong", option=row["name"], value=whole)
    return value


def yaml_text(sections: Mapping[str, Mapping[str, Any]]) -> str:
    """A YAML document of sections with keys; every value is written as JSON, which YAML reads as the same value."""
    lines: list[str] = []
    for section, keys in sections.items():
        if keys:
            lines += [f"{section}:", *(f"  {key}: {yaml_value(value)}" for key, value in keys.items())]
    return "\n".join(lines) + "\n"


def yaml_value(value: Any) -> str:
    """A value that YAML reads as what it is, whatever characters it holds."""
    text = json.dumps(value, ensure_ascii=False)
    return _NOT_PRINTABLE.sub(lambda match: f"\\u{ord(match[0]):04x}", text)
