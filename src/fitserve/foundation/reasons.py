"""A reason is a code with parameters; its text is looked up in `messages/<language>.toml`, never written here."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import TypeAlias

Parameter: TypeAlias = str | int | float | bool | tuple[str, ...] | None


class Severity(StrEnum):
    """How much a reason weighs: a blocker is a no, a warning a risk, a note an explanation."""

    BLOCKER = "blocker"
    WARNING = "warning"
    NOTE = "note"


class Verdict(StrEnum):
    """The answer of a plan; see CONTRACT for the meaning of each."""

    FITS = "fits"
    DOES_NOT_FIT = "does_not_fit"
    NOT_SUPPORTED = "not_supported"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Source:
    """Where a fact comes from: `kind` is vendor_spec, source_code, documentation, measurement or estimate."""

    kind: str
    ref: str
    checked: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why a candidate is rejected or what a user should know; `verdict` says which no a blocker means."""

    code: str
    severity: Severity
    parameters: Mapping[str, Parameter]
    verdict: Verdict = Verdict.FITS
    source: Source | None = None


def _reason(
    code: str, severity: Severity, verdict: Verdict, source: Source | None, given: dict[str, Parameter]
) -> Reason:
    return Reason(code=code, severity=severity, verdict=verdict, source=source, parameters=MappingProxyType(given))


def not_supported(code: str, source: Source | None = None, **parameters: Parameter) -> Reason:
    """A constraint forbids it, whatever the memory."""
    return _reason(code, Severity.BLOCKER, Verdict.NOT_SUPPORTED, source, parameters)


def does_not_fit(code: str, source: Source | None = None, **parameters: Parameter) -> Reason:
    """Memory is too small."""
    return _reason(code, Severity.BLOCKER, Verdict.DOES_NOT_FIT, source, parameters)


def unknown(code: str, source: Source | None = None, **parameters: Parameter) -> Reason:
    """A fact is missing, so neither yes nor no can be said."""
    return _reason(code, Severity.BLOCKER, Verdict.UNKNOWN, source, parameters)


def warning(code: str, source: Source | None = None, **parameters: Parameter) -> Reason:
    """It works, with a risk."""
    return _reason(code, Severity.WARNING, Verdict.FITS, source, parameters)


def note(code: str, source: Source | None = None, **parameters: Parameter) -> Reason:
    """Something the user should know."""
    return _reason(code, Severity.NOTE, Verdict.FITS, source, parameters)


def verdict_of(reasons: tuple[Reason, ...]) -> Verdict:
    """not_supported outweighs does_not_fit, which outweighs unknown; without a blocker it fits."""
    found = {reason.verdict for reason in reasons if reason.severity is Severity.BLOCKER}
    for verdict in (Verdict.NOT_SUPPORTED, Verdict.DOES_NOT_FIT, Verdict.UNKNOWN):
        if verdict in found:
            return verdict
    return Verdict.FITS
