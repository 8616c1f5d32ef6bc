"""Findings about the commands around engines: pip, downloads, evaluation, benchmarks. The facts stand in tools.toml."""

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any

from fitserve.check.programs import Invocation
from fitserve.check.types import Edit, Finding
from fitserve.foundation.facts import load_toml
from fitserve.foundation.reasons import Reason, Source, not_supported, note, warning

_MAKERS = {"blocker": not_supported, "warning": warning, "note": note}
_REQUIREMENT = re.compile(r"([A-Za-z0-9._-]+)(\[[^\]]*\])?\s*([<>=!~].*)?")


@lru_cache(maxsize=1)
def _rows() -> Mapping[str, Any]:
    return load_toml("fitserve.check", "tools.toml")


def tool_findings(call: Invocation) -> Iterator[Finding]:
    """Programs that are gone or renamed, packages that are no longer kept, options that a tool dropped."""
    yield from _program(call)
    if call.program in {"pip install", "pip3 install", "pip", "uv pip"}:
        yield from _packages(call)


def _program(call: Invocation) -> Iterator[Finding]:
    for row in _rows()["programs"]:
        if call.program not in row["names"]:
            continue
        first = max(0, call.start - len(call.program.split()))
        instead = row["instead"]
        start = _program_start(call, first)
        yield Finding(
            reason=_reason(
                row, call.statement.line, what=call.program, option=call.program, instead=instead, since=row["since"]
            ),
            edits=(Edit(start, call.start, tuple(instead.split())),) if row["is_rename"] else (),
        )


def _program_start(call: Invocation, guess: int) -> int:
    """Index of the program's first word: an interpreter before a script belongs to it."""
    argv = call.statement.argv
    while guess > 0 and re.fullmatch(r"(python[\d.]*|py|-m)", argv[guess - 1]):
        guess -= 1
    return guess


def _reason(row: Mapping[str, Any], line: int, **parameters: Any) -> Reason:
    maker = _MAKERS[row["severity"]]
    return maker(str(row["code"]), Source(**row["source"]), line=line, **parameters)


def _packages(call: Invocation) -> Iterator[Finding]:
    kept: Mapping[str, Mapping[str, Any]] = {row["name"]: row for row in _rows()["packages"]}
    for offset, word in enumerate(call.arguments):
        match = _REQUIREMENT.fullmatch(word)
        row = kept.get(match[1].lower().replace("_", "-")) if match else None
        if row is None:
            continue
        index = call.start + offset
        yield Finding(
            reason=_reason(row, call.line_of(index), what=word, option=word, instead=row["instead"]),
            edits=(Edit(index, index + 1, (row["instead"],)),) if row["is_rename"] else (),
        )
