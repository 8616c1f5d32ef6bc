"""From matches to causes by rank: what names a cause before what follows from it, the last run before earlier ones."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from fitserve.diagnose.signatures import cause_row
from fitserve.diagnose.types import CONSEQUENCE, GENERAL, ROOT, SYMPTOM, Cause, Evidence, Match, Scan
from fitserve.engines.registry import ENTRIES

_CONFIDENCE = {ROOT: 0.95, GENERAL: 0.85, CONSEQUENCE: 0.5, SYMPTOM: 0.35}
_OF_EARLIER_RUN = 0.5
_BESIDE_A_BETTER = 0.6
_MOST_CAUSES = 6
_MOST_EVIDENCE = 4
_FRAMES_AFTER = 60
"""Lines after an exception in which a wrapper may print its frames."""
_ALLOCATION = {"memory.torch_oom": {"loading": "memory.load_oom", "cuda_graphs": "memory.cudagraph_oom"}}
"""A plain allocation failure by its phase."""
_DEVICE = {"memory.device": {"loading": "memory.weights", "kv_cache": "memory.kv_cache"}}


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A match as a cause: its category after the phase was read."""

    match: Match
    code: str
    phase: str | None

    @property
    def tier(self) -> int:
        """Of the category that it became."""
        return self.match.rule.tier if self.code == self.match.rule.name else ROOT


def causes_of(scan: Scan, engine: str | None) -> tuple[Cause, ...]:
    """Causes by rank. `engine` is the one that the log is of, None when nobody said and no line shows it."""
    placed = [_placed(match, scan) for match in scan.matches if _counts(match, scan, engine)]
    placed = _not_beaten(placed)
    placed.sort(key=lambda item: _rank(item, scan, engine))
    by_code: dict[str, list[Placed]] = {}
    for item in placed:
        by_code.setdefault(item.code, []).append(item)
    best = min((item.tier for item in placed), default=SYMPTOM)
    causes = [_cause(items, scan, engine, best) for items in by_code.values()]
    return tuple(causes[:_MOST_CAUSES])


def engine_of(scan: Scan) -> str | None:
    """The engine whose own words a log holds; one that runs others before those that it runs."""
    seen = {name for name, count in scan.engines.items() if name and count}
    parents = {parent for entry in ENTRIES if entry.id in seen for parent in entry.mirrors}
    left = seen - parents or seen
    return max(left, key=lambda name: (scan.engines[name], name), default=None)


def _counts(match: Match, scan: Scan, engine: str | None) -> bool:
    """Whether a match is about an engine, and is nothing that the program survived."""
    if match.rule.needs_context and engine is None and not (scan.engines or scan.marks or scan.figures):
        return False
    later = [mark for mark in scan.marks if mark[2] == "serving" and mark[1] > match.last_line]
    if not later:
        return True
    if any(run == match.run for run, _, _ in later):
        return False  # the server came up after this line
    return match.rule.tier < SYMPTOM


def _placed(match: Match, scan: Scan) -> Placed:
    phase = _phase(match, scan)
    named = _ALLOCATION.get(match.rule.name, {}) | _DEVICE.get(match.rule.name, {})
    return Placed(match=match, code=named.get(phase or "", match.rule.name), phase=phase)


def _phase(match: Match, scan: Scan) -> str | None:
    """What the program did when it failed: the nearest mark before, or in the frames that follow."""
    before = [mark for mark in scan.marks if mark[0] == match.run and mark[1] <= match.line]
    if before and before[-1][2] != "start":
        return before[-1][2]
    after = [mark for mark in scan.marks if mark[0] == match.run and match.line < mark[1] <= match.line + _FRAMES_AFTER]
    if after and after[0][2] not in {"start", "serving"}:
        return after[0][2]
    return before[-1][2] if before else None


def _not_beaten(placed: list[Placed]) -> list[Placed]:
    """Without those that the same failure prints beside a better one."""
    beaten = {
        (item.match.run, loser)
        for item in placed
        for loser in cause_row(item.code).get("beats", ())
        if loser != item.code
    }
    return [item for item in placed if (item.match.run, item.code) not in beaten]


def _rank(item: Placed, scan: Scan, engine: str | None) -> tuple[int, int, int, int, int]:
    match = item.match
    is_foreign = match.rule.engine is not None and engine is not None and match.rule.engine != engine
    return (
        0 if item.tier <= GENERAL else item.tier,
        scan.runs - match.run,
        item.tier,
        match.line,
        match.rule.order + (1 << 16 if is_foreign else 0),
    )


def _cause(items: list[Placed], scan: Scan, engine: str | None, best_tier: int) -> Cause:
    first = items[0]
    confidence = _CONFIDENCE[first.tier]
    if first.match.run < scan.runs - 1:
        confidence *= _OF_EARLIER_RUN
    if first.tier > best_tier:
        confidence *= _BESIDE_A_BETTER
    return Cause(
        code=first.code,
        tier=first.tier,
        engine=engine or next((item.match.rule.engine for item in items if item.match.rule.engine), None),
        confidence=round(confidence, 2),
        evidence=tuple(_evidence(items)),
        parameters=parameters_of(items),
        phase=first.phase,
    )


def _evidence(items: Iterable[Placed]) -> list[Evidence]:
    lines = {item.match.line: item.match.text for item in items}
    return [Evidence(line, text) for line, text in sorted(lines.items())[:_MOST_EVIDENCE]]


def parameters_of(items: Iterable[Placed]) -> Mapping[str, Any]:
    """What the patterns captured; whole numbers as numbers. `architecture2` is another place of `architecture`."""
    found: dict[str, Any] = {}
    for item in items:
        for name, value in item.match.groups.items():
            plain = name.rstrip("0123456789")
            found.setdefault(plain, int(value) if value.isdecimal() and len(value) < 16 else value)
    return found


def with_parameters(cause: Cause, more: Mapping[str, Any]) -> Cause:
    """A cause that knows more; what its own lines said stays."""
    return replace(cause, parameters={**more, **cause.parameters})
