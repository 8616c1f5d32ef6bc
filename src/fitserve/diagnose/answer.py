"""The one use case of `diagnose`: a log to its causes by rank, with remedies as changed commands."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace

from fitserve.diagnose.budget import budgeted, compared, first_release, instead_of, judged_again, wrong_assumption
from fitserve.diagnose.fixes import with_remedies
from fitserve.diagnose.known import engine_id_of, known_of
from fitserve.diagnose.model_names import by_catalogue_first
from fitserve.diagnose.ranking import causes_of, engine_of
from fitserve.diagnose.request import DiagnoseRequest
from fitserve.diagnose.scanning import scan
from fitserve.diagnose.types import CONSEQUENCE, GENERAL, Budgeted, Cause, Diagnosis, Evidence, Known, Scan
from fitserve.engines.registry import engine
from fitserve.foundation.reasons import Reason, Verdict, note
from fitserve.plan.world import World
from fitserve.search.evaluate import Evaluated

_TELLING = re.compile(
    r"\b(?:\w*Error|\w*Exception|ERROR|FATAL|CRITICAL|panic|Traceback|fatal|failed|Failed|FAILED|abort(?:ed)?|killed|refused"
    r"|denied|cannot|not found|오류|실패|거부)\b"
)
_STRONG = re.compile(r"^\w*(?:Error|Exception)\b|\bFATAL\b|\bpanic:|\bCRITICAL\b")
_MOST_TELLING = 5
_INFERRED = 0.7
"""Confidence of a cause that no line names and that the engine's own rules give for this machine."""
_BELOW_INFERRED = 0.5
_LOAD = ("engine.unable_to_load", "engine.load_failed")


def diagnose(pieces: Iterable[bytes], request: DiagnoseRequest | None = None, world: World | None = None) -> Diagnosis:
    """The causes of a failure by its log. `pieces` are chunks or lines with their line ends, read once.

    Raises InputError for hints that name no engine, version or GPU. `world` is asked only for a model that the user names and
    the catalogue does not know; what a log names is never looked for outside.
    """
    hints = request or DiagnoseRequest()
    stated = engine_id_of(hints.engine)
    seen = scan(pieces)
    engine_id = stated or engine_of(seen)
    known = known_of(seen, hints, engine_id)
    causes = causes_of(seen, engine_id)
    if not causes:
        return _unknown(seen, known)
    reader = by_catalogue_first(world if hints.model is not None else None)
    judged = budgeted(known, reader)
    causes = _inferred(causes, known, judged)
    if judged is not None and not judged.evaluated.fits:
        judged = _with_instead(judged, known, reader)
    rows = compared(judged.evaluated, seen) if judged is not None else ()
    return Diagnosis(
        causes=tuple(with_remedies(cause, known, judged, not place) for place, cause in enumerate(causes)),
        known=known,
        compared=rows,
        wrong_assumption=None if judged is None else wrong_assumption(_at_right_release(judged), rows),
        budgeted=judged,
        notes=tuple(_notes(causes[0], judged)),
        lines=seen.lines,
        size_bytes=seen.size_bytes,
    )


def _notes(first: Cause, judged: Budgeted | None) -> Iterator[Reason]:
    if judged is None:
        yield note("model_not_judged")
    if first.is_inferred:
        yield note("cause_inferred")


def _at_right_release(judged: Budgeted) -> Evaluated:
    """The deployment at a release that knows the model: what stands against it besides the release."""
    item = judged.evaluated
    if item.verdict is not Verdict.NOT_SUPPORTED:
        return item
    newest = engine(item.deployment.engine).versions[-1]
    return judged_again(item, engine_version=newest) or item


def _inferred(causes: tuple[Cause, ...], known: Known, judged: Budgeted | None) -> tuple[Cause, ...]:
    """Where the log has only consequences: what the engine's own rules say stands against this deployment."""
    first = causes[0]
    if judged is None or (first.tier < CONSEQUENCE and first.code not in _LOAD):
        return causes
    code = _code_of(judged, known, first)
    if code is None:
        return causes
    cause = replace(first, code=code, tier=GENERAL, confidence=_INFERRED, phase=None, parameters={}, is_inferred=True)
    others = (
        replace(other, confidence=min(other.confidence, _BELOW_INFERRED)) for other in causes if other.code != code
    )
    return (cause, *others)


def _code_of(judged: Budgeted, known: Known, first: Cause) -> str | None:
    item = judged.evaluated
    made = engine(item.deployment.engine)
    known_from = first_release(item)
    is_too_old = item.verdict is Verdict.NOT_SUPPORTED
    # a load that fails without a word: memory is reported in words, so a release that may be too old comes first
    may_be_too_old = first.code in _LOAD and "engine_version" not in known.origin
    if known_from is not None and (is_too_old or may_be_too_old):
        return "model.arch_unsupported"
    if item.verdict is not Verdict.DOES_NOT_FIT or item.budget is None:
        return None
    outcome = made.outcome(item.budget)
    weights = "memory.weights" if made.places_layers else "memory.load_oom"
    return {"oom_weights": weights, "oom_kv": "memory.kv_cache" if made.places_layers else "memory.no_kv"}.get(outcome)


def _with_instead(judged: Budgeted, known: Known, world: World) -> Budgeted:
    """With what runs here all the same, where a change of one knob on this machine does not help."""
    item = _at_right_release(judged)
    helps = [fix for fix in judged.evaluated.fixes if fix.knob != "devices"]
    return judged if helps or item.fits else replace(judged, instead=instead_of(item, known, world))


def _unknown(seen: Scan, known: Known) -> Diagnosis:
    """No cause: the lines that say most, and what to look at."""
    telling = tuple(_telling(seen.ends))
    return Diagnosis(
        causes=(),
        known=known,
        notes=tuple(_advice(seen, known)),
        telling=telling,
        lines=seen.lines,
        size_bytes=seen.size_bytes,
    )


def _telling(lines: Iterable[tuple[int, str]]) -> Iterator[Evidence]:
    """Exceptions first, then lines that speak of an error; the last ones of each, in the order of the log."""
    found = [(number, text) for number, text in lines if _TELLING.search(text)]
    strong = [item for item in found if _STRONG.search(item[1])]
    chosen: Mapping[int, str] = dict([*strong[-_MOST_TELLING:], *found[-(_MOST_TELLING - min(len(strong), 3)) :]])
    for number, text in sorted(chosen.items())[-_MOST_TELLING:]:
        yield Evidence(number, text[:300])


def _advice(seen: Scan, known: Known) -> Iterator[Reason]:
    if not seen.size_bytes:
        yield note("log_empty")
        return
    if any(mark == "serving" for _, _, mark in seen.marks):
        yield note("looks_healthy")
        return
    yield note("look_at_whole_log")
    yield note("look_at_system")
    variable = None
    if known.engine is not None:
        variable = engine(known.engine).facts.get("identity", {}).get("debug")
    if variable is not None:
        yield note("look_at_debug", variable=str(variable))
