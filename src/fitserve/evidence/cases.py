"""Case files: `{"schema":"fitserve-evidence/1","cases":[…]}`, those of the package or any that are named."""

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from fitserve.foundation.errors import InputError

_SCHEMA = "fitserve-evidence/1"
_MOST_BYTES = 1 << 28
_LENGTHS = re.compile(r"random lengths ([\d.]+)-([\d.]+) of nominal")


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One measured case. `given` is what a user would know before, `measured` what the world printed."""

    id: str
    kind: str
    given: Mapping[str, Any]
    measured: Mapping[str, Any]
    doubt: str | None = None
    file: str = ""

    def figures(self) -> Mapping[str, Any]:
        """Measured values by metric name; nested ones joined with a dot. Log lines, tolerances and prose are none."""
        found: dict[str, Any] = {}
        for key, value in self.measured.items():
            if key in {"log_lines", "plus_minus_bytes", "plus_minus", "groups", "cause", "fix", "peak_scope"}:
                continue
            if isinstance(value, Mapping):
                found |= {
                    f"{key}.{inner}": number for inner, number in value.items() if isinstance(number, int | float)
                }
            elif key == "wrong" and isinstance(value, list):
                # what is wrong with a command: a set of things to be named, none for a right one
                named = [str(item["what"]) for item in value if isinstance(item, Mapping) and "what" in item]
                found |= {key: tuple(named)} if named else {}
            elif isinstance(value, int | float | str | bool):
                found[key] = value
        return found


def packaged_cases() -> list[Case]:
    """The cases that travel with the package."""
    folder = files("fitserve.evidence").joinpath("cases")
    names = sorted(entry.name for entry in folder.iterdir() if entry.name.endswith(".json"))
    return [case for name in names for case in _read(folder.joinpath(name).read_bytes(), name)]


def cases_of(paths: Iterable[str]) -> list[Case]:
    """The cases of files and folders. Raises InputError for what cannot be read as such."""
    found: list[Case] = []
    for name in paths:
        path = Path(name)
        try:
            listed = sorted(path.glob("*.json")) if path.is_dir() else [path]
            for file in listed:
                if file.stat().st_size > _MOST_BYTES:
                    raise InputError.of("evidence_broken", where=str(file), detail=f"{file.stat().st_size:,} bytes")
                found += _read(file.read_bytes(), str(file))
        except OSError as error:
            raise InputError.of("file_missing", where=name, detail=error.strerror or "?") from error
    return found


def _read(text: bytes, where: str) -> list[Case]:
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError.of("evidence_broken", where=where, detail=str(error)[:80]) from error
    if not isinstance(content, dict) or content.get("schema") != _SCHEMA or not isinstance(content.get("cases"), list):
        raise InputError.of(
            "evidence_broken", where=where, detail=f"no object with schema {_SCHEMA} and a list of cases"
        )
    return [_case(item, where) for item in content["cases"]]


def _given(item: Mapping[str, Any]) -> Mapping[str, Any]:
    """`given`, and the spread of lengths where the note on the source states it: shortest over longest."""
    source = item.get("source")
    found = _LENGTHS.search(str(source.get("note"))) if isinstance(source, Mapping) else None
    given: Mapping[str, Any] = item["given"]
    return given if found is None else {"length_ratio": float(found[1]) / float(found[2]), **given}


def _case(item: Any, where: str) -> Case:
    is_case = isinstance(item, dict) and all(isinstance(item.get(key), str) for key in ("id", "kind"))
    if not is_case or not isinstance(item.get("given"), dict) or not isinstance(item.get("measured", {}), dict):
        raise InputError.of(
            "evidence_broken", where=where, detail=f"a case without id, kind, given and measured: {str(item)[:80]}"
        )
    doubt = item.get("doubt")
    return Case(
        id=item["id"], kind=item["kind"], given=_given(item), measured=item.get("measured") or {},
        doubt=doubt if isinstance(doubt, str) else None, file=where,
    )  # fmt: skip
