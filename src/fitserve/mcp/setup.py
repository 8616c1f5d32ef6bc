"""The set-up of a client: a line to run, where it has one, and what goes into its file."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fitserve.foundation.errors import InputError
from fitserve.foundation.facts import load_toml


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a client needs: `line` are the words of a command that does it (empty: there is none); `text` goes into `file`."""

    title: str
    line: tuple[str, ...]
    file: str
    text: str


def setup_of(name: str, program: Sequence[str], url: str | None = None) -> Setup:
    """The set-up of a client for a program, or for a server at an address. Raises InputError for an unknown client."""
    known = {row["name"]: row for row in load_toml("fitserve.mcp", "clients.toml")["clients"]}
    wanted = name.strip().lower().replace("_", "-").replace(" ", "-")
    row = known.get(wanted)
    if row is None:
        raise InputError.of("mcp_client_unknown", given=name[:80], known=tuple(known))
    entry = _entry(row, program, url)
    words = row.get("line") if url is None else row.get("http_line")
    line = () if words is None else (*words, *(program if url is None else [url]))
    return Setup(title=row["title"], line=line, file=row["file"], text=_text(row, entry))


def _entry(row: Mapping[str, Any], program: Sequence[str], url: str | None) -> dict[str, Any]:
    if url is not None:
        return {**row.get("http", {}), "url": url}
    if row.get("is_list"):
        return {"type": "local", "command": list(program)}
    return {"command": program[0], "args": list(program[1:])}


def _text(row: Mapping[str, Any], entry: dict[str, Any]) -> str:
    """The part of the file: JSON, or a TOML table by the name of the file."""
    if row["file"].endswith(".toml"):
        # strings and lists of strings are written alike in JSON and TOML
        lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in entry.items()]
        return "\n".join([f"[{'.'.join(row['shape'])}.fitserve]", *lines])
    content: dict[str, Any] = {"fitserve": entry}
    for key in reversed(row["shape"]):
        content = {key: content}
    return json.dumps(content, ensure_ascii=False, indent=2)
