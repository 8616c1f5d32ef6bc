"""A command with its findings, and its argument list after the edits that mend it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from fitserve.check.programs import Invocation, invocation
from fitserve.check.types import Edit, Finding, Statement, Word
from fitserve.foundation.reasons import Severity, Verdict
from fitserve.foundation.versions import parse_version
from fitserve.search.evaluate import Evaluated

_MOST_PASSES = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Checked:
    """One statement judged. `corrected` is its argument list after the edits, None when there is nothing to mend."""

    call: Invocation
    version: str | None
    findings: tuple[Finding, ...]
    corrected: tuple[str, ...] | None
    corrected_version: str | None
    evaluated: Evaluated | None

    @property
    def is_ok(self) -> bool:
        """No finding is a blocker."""
        return not has_blocker(self.findings)


def has_blocker(findings: tuple[Finding, ...]) -> bool:
    """Whether the command will not do what it says."""
    return any(finding.reason.severity is Severity.BLOCKER for finding in findings)


def mended(
    call: Invocation,
    version: str | None,
    findings: Sequence[Finding],
    evaluated: Evaluated | None,
    again: Callable[[Invocation], Sequence[Finding]],
) -> Checked:
    """The statement with its edits applied until nothing is left to mend."""
    words = list(call.statement.argv)
    corrected: tuple[str, ...] | None = None
    remaining = findings
    for _ in range(_MOST_PASSES):
        edits = _next_edits(remaining)
        if not edits:
            break
        words = _edited(words, edits)
        corrected = tuple(words)
        statement = Statement(words=tuple(Word(word, call.statement.line) for word in words), env=call.statement.env)
        changed = invocation(statement)
        if changed is None:
            break
        remaining = again(replace(changed, engine=call.engine))
    versions = [finding.first_version for finding in findings if finding.first_version]
    needed = max(versions, key=parse_version) if versions and _all_parse(versions) else None
    if needed is not None and call.container is not None and not is_beyond_edits(findings):
        corrected = _retagged(corrected or call.statement.argv, call, needed)
    return Checked(
        call=call,
        version=version,
        findings=tuple(findings),
        corrected=corrected,
        corrected_version=needed,
        evaluated=evaluated,
    )


def _next_edits(findings: Sequence[Finding]) -> list[Edit]:
    """Options first: what fits depends on them. Warnings about memory change nothing by themselves."""
    options = [finding for finding in findings if finding.reason.verdict is not Verdict.DOES_NOT_FIT]
    memory = [f for f in findings if f not in options and f.reason.severity is Severity.BLOCKER]
    first = [edit for finding in options for edit in finding.edits]
    return first or [edit for finding in memory for edit in finding.edits][:1]


def is_beyond_edits(findings: Sequence[Finding]) -> bool:
    """Whether a blocker is left that neither an edit nor a newer release mends."""
    return any(
        finding.reason.severity is Severity.BLOCKER and not finding.edits and finding.first_version is None
        for finding in findings
    )


def _retagged(words: tuple[str, ...], call: Invocation, version: str) -> tuple[str, ...]:
    """The image at the release that the command needs."""
    assert call.container is not None
    old = call.statement.argv[call.container.image_index]
    prefix = "v" if call.container.tag.startswith("v") or call.container.tag == "latest" else ""
    return tuple(f"{call.container.image}:{prefix}{version}" if word == old else word for word in words)


def _all_parse(versions: list[str]) -> bool:
    try:
        return bool([parse_version(version) for version in versions])
    except ValueError:
        return False


def _edited(words: list[str], edits: list[Edit]) -> list[str]:
    """Edits applied from the end, so that earlier positions stay valid; overlapping ones are applied once."""
    made = list(words)
    done: set[int] = set()
    for edit in sorted(edits, key=lambda edit: -edit.start):
        span = set(range(edit.start, max(edit.stop, edit.start + 1)))
        if not span & done:
            made[edit.start : edit.stop] = edit.words
            done |= span
    return made
