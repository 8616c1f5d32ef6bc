"""Option lists of an engine at one release: the nearest scanned list, corrected by the names seen in more releases."""

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from importlib.resources import files
from typing import Any

from fitserve.engines.contract import Engine
from fitserve.engines.option_lists import SERVER, header, scanned_versions
from fitserve.engines.registry import engine
from fitserve.foundation.facts import load_json
from fitserve.foundation.versions import nearest_not_above, parse_version

_NEAR = 0.86


@dataclass(frozen=True, slots=True, kw_only=True)
class History:
    """What more releases say of a name: the first and the last release with it, the first without, what replaces it."""

    first: str | None
    last: str | None
    gone_in: str | None
    replacement: str | None
    before_all: bool = False
    """Not yet in the release asked about."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseOptions:
    """Names of one release with the rows that describe them."""

    engine: str
    version: str
    style: str
    abbreviations: bool
    """Whether an unambiguous prefix of a long name is taken."""
    underscores: bool
    dotted: bool
    glued: Mapping[str, str]
    """Short options whose value is written right behind them (`-O3`), and the option that they stand for."""
    is_complete: bool
    has_positionals: bool
    rows: Mapping[str, Mapping[str, Any]]
    """Every accepted spelling to its row."""
    elsewhere: frozenset[str]
    """Names that other programs of the same project take."""
    lifetimes: Mapping[str, Mapping[str, Any]] = field(repr=False)

    def find(self, name: str) -> tuple[Mapping[str, Any] | None, str]:
        """(row, the spelling that matched) of a written name: as it is, with dashes, or an unambiguous prefix."""
        spelled = name
        if self.underscores and name.startswith("--"):
            spelled = name.replace("_", "-")
        if spelled in self.rows:
            return self.rows[spelled], spelled
        if self.abbreviations and spelled.startswith("--"):
            longer = [known for known in self.rows if known.startswith(spelled)]
            kinds = {str(self.rows[known]["name"]) for known in longer}
            if len(kinds) == 1 and len(spelled) > len("--x"):
                return self.rows[longer[0]], longer[0]
        if spelled[:2] in self.glued and len(spelled) > 2 and self.glued[spelled[:2]] in self.rows:
            return self.rows[self.glued[spelled[:2]]], spelled[:2]
        if self.style == "argparse" and not spelled.startswith("--") and len(spelled) > 2 and spelled[:2] in self.rows:
            row = self.rows[spelled[:2]]  # -O3, -q4: a short option with its value attached
            return (row, spelled[:2]) if str(row.get("arity")) != "0" else (None, spelled)
        return None, spelled

    def history(self, name: str) -> History | None:
        """What is known of a name that this release does not have; None for one that no release had."""
        row = self.lifetimes.get(name)
        return None if row is None or row.get("intervals") == [] else _history(row, self.version, name)

    def near(self, name: str) -> str | None:
        """The only name that is spelled almost like this one."""
        longs = [known for known in self.rows if known.startswith("--")]
        close = difflib.get_close_matches(name.replace("_", "-"), longs, n=2, cutoff=_NEAR)
        return close[0] if close else None


def _history(row: Mapping[str, Any], version: str, name: str) -> History:
    if "intervals" in row:
        first, last = row["first_seen"], row["last_seen"]
        later = [interval for interval in row["intervals"] if is_newer(interval[0], version)]
        ended = [interval for interval in row["intervals"] if not is_newer(interval[1], version)]
        before = not ended
        return History(
            first=later[0][0] if before and later else first,
            last=ended[-1][1] if ended else last,
            gone_in=row.get("gone_in"),
            replacement=row.get("replacement"),
            before_all=before,
        )
    states = [key for key in row if key not in {"name", "replacement", "note"}]
    present = [state for state in states if row[state]]
    return History(
        first=present[0] if present else None,
        last=present[-1] if present else None,
        gone_in=None,
        replacement=row.get("replacement"),
        before_all=bool(present) and states.index(present[0]) > 0 and version in states[: states.index(present[0])],
    )


def is_newer(one: str, other: str) -> bool:
    """Whether one release is newer than another; false where either is no version."""
    try:
        return parse_version(one) > parse_version(other)
    except ValueError:
        return False


def holds(runs: Sequence[Sequence[str]], version: str) -> bool:
    """Whether a name was there at a release, by its runs of scanned releases as (first, last); between two it was not."""
    return any(not is_newer(start, version) and not is_newer(version, end) for start, end in runs)


@lru_cache(maxsize=32)
def release_options(engine_id: str, version: str, program: str = "") -> ReleaseOptions | None:
    """Options of a program of an engine at a release; None for an engine without an option list."""
    made = engine(engine_id)
    command_line = made.facts.get("command_line")
    listed = scanned_versions(made.package)
    if command_line is None or not listed:
        return None
    standing = _standing(made, version, listed)
    takes = tuple(command_line.get("program_options", {}).get(program, (SERVER,)))
    every = _spellings(made.package, standing)
    rows = {name: row for name, row in every.items() if set(row.get("programs", takes)) & set(takes)}
    lifetimes = _lifetimes(made.package)
    if version != standing and any("intervals" in row for row in lifetimes.values()):
        rows = _between(made.package, listed, standing, version, lifetimes)
    return ReleaseOptions(
        engine=made.id,
        version=version,
        style=str(command_line.get("style", "argparse")),
        abbreviations=bool(command_line.get("abbreviations", command_line.get("style", "argparse") == "argparse")),
        underscores=bool(command_line.get("underscores", False)),
        dotted=bool(command_line.get("dotted", False)),
        glued=command_line.get("glued", {}),
        has_positionals=bool(command_line.get("positional_model", False)),
        is_complete=bool(header(made.package, standing).get("complete", True)),
        rows=rows,
        elsewhere=frozenset(every) - frozenset(rows),
        lifetimes=lifetimes,
    )


def _standing(made: Engine, version: str, listed: Sequence[str]) -> str:
    if made.options_version is not None:
        return made.options_version(version)
    try:
        return nearest_not_above(version, listed) or min(listed, key=parse_version)
    except ValueError:
        return listed[-1]


def _between(
    package: str,
    listed: Sequence[str],
    standing: str,
    version: str,
    lifetimes: Mapping[str, Mapping[str, Any]],
) -> dict[str, Mapping[str, Any]]:
    """Names of a release whose list was not scanned in full: by their intervals, described by the nearest list."""
    own = _spellings(package, standing)
    found: dict[str, Mapping[str, Any]] = {
        name: row for name, row in own.items() if name not in lifetimes or _still(lifetimes[name], version)
    }
    newer = [other for other in listed if is_newer(other, version)]
    for name, life in lifetimes.items():
        if name in found or not life.get("intervals") or not _still(life, version):
            continue
        row = next((table[name] for table in (_spellings(package, o) for o in newer) if name in table), None)
        found[name] = row if row is not None else {"name": name, "arity": "1"}
    return found


def _still(life: Mapping[str, Any], version: str) -> bool:
    """Whether a name is there at a release; a release newer than all scanned is judged as the newest."""
    if not life.get("intervals"):
        return "intervals" not in life
    newest = life["intervals"][-1][1]
    return holds(life["intervals"], version) or (is_newer(version, newest) and life.get("gone_in") is None)


@lru_cache(maxsize=64)
def _spellings(package: str, version: str) -> Mapping[str, Mapping[str, Any]]:
    table: dict[str, Mapping[str, Any]] = {}
    for row in load_json(package, f"options/{version}.json")["rows"]:
        if row.get("removed"):
            continue  # the parser knows the name only to say that it is gone
        for name in (row["name"], *row.get("aliases", ()), *row.get("negations", ()), *row.get("also_accepted", ())):
            table.setdefault(name, row)
    return table


@lru_cache(maxsize=16)
def _lifetimes(package: str) -> Mapping[str, Mapping[str, Any]]:
    if not files(package).joinpath("option_lifetimes.json").is_file():
        return {}
    return {row["name"]: row for row in load_json(package, "option_lifetimes.json")["rows"]}
