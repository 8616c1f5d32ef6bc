"""The one use case of `check`: a pasted text to findings, the corrected command and the plan that it amounts to."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from fitserve.check.bash import typographic
from fitserve.check.deployments import (
    Reading,
    find_model,
    format_findings,
    judge,
    model_text,
    reading,
    unread_model,
    verdict_findings,
)
from fitserve.check.engine_lint import option_findings
from fitserve.check.options import Given, ParsedOptions, parse
from fitserve.check.programs import Invocation, invocation
from fitserve.check.releases import ReleaseOptions, release_options
from fitserve.check.request import CheckRequest
from fitserve.check.safety import common_findings, safety_findings
from fitserve.check.script import read_script
from fitserve.check.tools import tool_findings
from fitserve.check.types import Edit, Finding, Script, Statement, Word
from fitserve.engines.contract import Engine
from fitserve.engines.registry import engine, engines
from fitserve.foundation.errors import FitserveError, InputError
from fitserve.foundation.reasons import Reason, Severity, Verdict, not_supported, note
from fitserve.foundation.versions import parse_version
from fitserve.hardware.identify import identify
from fitserve.hardware.types import Host, Machine
from fitserve.plan.answer import plan
from fitserve.plan.machine import machine_of
from fitserve.plan.request import HardwareRequest, PlanRequest
from fitserve.plan.world import ModelRead, World
from fitserve.search.evaluate import Evaluated
from fitserve.workload.presets import preset

_PARENT_ONLY = {
    "option_of_fork", "option_removed", "option_never_known", "option_too_new", "option_not_in_list", "option_value_missing",
    "option_choice_wrong", "option_type_wrong", "file_type_of_fork", "format_of_a_fork",
}  # fmt: skip
_MOST_PASSES = 4
_STAND_IN = "h200-sxm-141gb"
"""A device that every format and release runs on: with it only what holds on all machines is said."""


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


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckAnswer:
    """All statements of a text, and what is wrong with its shell syntax."""

    request: CheckRequest
    script: Script
    checked: tuple[Checked, ...]
    instead: Evaluated | None = None
    """What runs on this machine, when no change of options makes the command right."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Findings of the shell and of every statement, in the order of the text."""
        found = [*self.script.findings, *(finding for item in self.checked for finding in item.findings)]
        return tuple(sorted(found, key=lambda finding: _line(finding.reason)))

    @property
    def is_ok(self) -> bool:
        """No finding is a blocker."""
        return not has_blocker(self.findings)

    @property
    def main(self) -> Checked | None:
        """The statement that the text is about: the first that starts an engine, else the first with something to mend."""
        engines = [item for item in self.checked if item.call.engine is not None]
        mended = [item for item in self.checked if item.corrected is not None]
        return next(iter([*engines, *mended, *self.checked]), None)


def has_blocker(findings: tuple[Finding, ...]) -> bool:
    """Whether the command will not do what it says."""
    return any(finding.reason.severity is Severity.BLOCKER for finding in findings)


def _line(reason: Reason) -> int:
    line = reason.parameters.get("line")
    return line if isinstance(line, int) else 0


def check(request: CheckRequest, world: World) -> CheckAnswer:
    """The judgement of a text. Raises InputError for a machine, engine or version that is none; runs nothing."""
    script = read_script(request.command, request.os)
    machine = _machine(request, world)
    stated, fork = _stated(request)
    checked = []
    for statement in script.statements:
        call = invocation(statement)
        if call is not None:
            item = _statement(call, request, stated, machine, world)
            checked.append(of_fork(item, fork) if fork is not None and item.call.engine is not None else item)
    answer = CheckAnswer(request=request, script=script, checked=tuple(checked))
    return replace(answer, instead=_instead(answer, world) if machine is not None else None)


def _instead(answer: CheckAnswer, world: World) -> Evaluated | None:
    """The best plan for the same model and machine, when constraints or memory stand against the command."""
    main = answer.main
    judged = main.evaluated if main is not None else None
    if main is None or judged is None or judged.fits or not _is_beyond_edits(list(main.findings)):
        return None
    deployment, request = judged.deployment, answer.request
    length = min(deployment.context_tokens, preset("chat").context_tokens)
    fields = {
        "gpu": request.gpu,
        "ram": request.ram,
        "os": request.os,
        "model": deployment.model.base_id or deployment.model.id,
    }
    for engines_asked in ((deployment.engine,), ()):
        try:
            found = plan(PlanRequest.read(**fields, engine=engines_asked or None, context=length), world)
        except FitserveError:
            return None
        if found.plans:
            return found.plans[0]
    return None


def _stated(request: CheckRequest) -> tuple[Engine | None, str | None]:
    """(engine that the user named, fork of it); a fork is judged as its parent, less what only the fork can know."""
    if request.engine is None:
        return None, None
    name = request.engine.partition("==")[0].strip()
    for made in engines():
        if name in made.facts.get("command_line", {}).get("forks", {}):
            return made, name
    return engine(name), None


def of_fork(item: Checked, fork: str) -> Checked:
    """A statement of a fork: its options and file types are its own and not known here."""
    kept = [finding for finding in item.findings if finding.reason.code not in _PARENT_ONLY]
    told = Finding(
        reason=note("fork_options_unknown", option="engine", what=fork, line=item.call.statement.line, fork=fork)
    )
    return replace(item, findings=(*kept, told), corrected=None)


def _machine(request: CheckRequest, world: World) -> Machine | None:
    """The machine that was named; None when nobody named one."""
    if not request.gpu:
        return None
    hardware = HardwareRequest(gpu=request.gpu, ram=request.ram, os=request.os)
    return machine_of(hardware, world)[0]


def _statement(
    call: Invocation, request: CheckRequest, stated: Engine | None, machine: Machine | None, world: World
) -> Checked:
    made = call.engine
    if made is None:
        findings = [*typographic(call.statement), *call.findings, *common_findings(call), *tool_findings(call)]
        return _result(call, None, findings, None, lambda again: [*tool_findings(again), *common_findings(again)])
    if stated is not None:
        made, call = stated, replace(call, engine=stated)
    version = _version(made, call, request, world)
    parts = _engine_parts(made, version, call, request, machine, world)
    findings = [*typographic(call.statement), *call.findings, *common_findings(call), *parts.findings]
    return _result(
        call, version, findings, parts.evaluated,
        lambda again: _engine_parts(made, version, again, request, machine, world).findings,
    )  # fmt: skip


def _version(made: Engine, call: Invocation, request: CheckRequest, world: World) -> str:
    """The release to judge by: named, installed here, that of the image, or the newest known."""
    named = request.engine_version or (request.engine or "").partition("==")[2]
    if named == "installed":
        found = world.installed_version(made.id) if world.installed_version is not None else None
        if found is None:
            raise InputError.of("engine_not_installed", engine=made.id)
        named = found
    if named:
        return made.parse_version(named)
    tag = call.container.tag if call.container is not None else ""
    try:
        return (
            made.parse_version(tag.removeprefix("v")) if any(letter.isdigit() for letter in tag) else made.versions[-1]
        )
    except InputError:
        return made.versions[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class _Parts:
    findings: list[Finding]
    evaluated: Evaluated | None


def _engine_parts(
    made: Engine, version: str, call: Invocation, request: CheckRequest, machine: Machine | None, world: World
) -> _Parts:
    release = release_options(made.id, version)
    if release is None:
        return _Parts(findings=[], evaluated=None)
    parsed = parse(call.arguments, release)
    findings = [
        *_entry(made, call),
        *option_findings(made, call, parsed, release),
        *safety_findings(made, call, parsed),
    ]
    written = model_text(made, parsed)
    found = find_model(written or "", world.read_model, request.model)
    if found is None or written is None:
        return _Parts(findings=[*findings, unread_model(call, written)], evaluated=None)
    seen, refused = _reading(made, release, parsed, call, found, written, machine)
    findings += refused
    if seen is None:
        return _Parts(findings=findings, evaluated=None)
    findings += [*format_findings(made, call, seen), *verdict_findings(made, call, seen, parsed)]
    return _Parts(findings=findings, evaluated=judge(seen) if seen.is_machine_known else None)


def _entry(made: Engine, call: Invocation) -> list[Finding]:
    """An older way to start the engine: it still works, the newer one says the same."""
    instead = made.facts["command_line"].get("module_replaced_by")
    if instead is None or not call.program.startswith("python -m"):
        return []
    reason = note("module_entry", option="-m", what="-m", line=call.statement.line, instead=instead, engine=made.id)
    return [Finding(reason=reason)]


def _reading(
    made: Engine,
    release: ReleaseOptions,
    parsed: ParsedOptions,
    call: Invocation,
    found: ModelRead,
    written: str,
    machine: Machine | None,
) -> tuple[Reading | None, list[Finding]]:
    """What the command would start, and values that the engine refuses; those are left out to see the rest."""
    stand_in = Machine(devices=(identify(_STAND_IN).device,), host=Host())
    refused: list[Finding] = []
    for _ in range(len(parsed.options) + 1):
        try:
            seen = reading(made, release, parsed, found, written, machine or stand_in, machine is not None)
            too_many = _too_many_ranks(call, seen)
            if too_many is not None:
                return None, [*refused, too_many]
            judge(seen)
        except InputError as error:
            names = {str(value) for problem in error.problems for key, value in problem.parameters if key == "option"}
            bad = [given for given in parsed.options if (given.row or {}).get("name") in names]
            if not bad:
                return None, refused
            refused += [_refused(call, given) for given in bad]
            parsed = replace(parsed, options=tuple(given for given in parsed.options if given not in bad))
            continue
        return seen, refused
    return None, refused


def _refused(call: Invocation, given: Given) -> Finding:
    """A value outside of what the engine takes; a percentage where a share is meant is divided."""
    start, stop = call.start + given.start, call.start + given.stop
    value = given.value or ""
    share = value.rstrip("%")
    is_percent = share.replace(".", "", 1).isdigit() and 1 < float(share) <= 100
    reason = not_supported(
        "option_value_refused", option=given.written, what=given.text, line=call.line_of(start), value=value
    )
    words = (given.written, f"{float(share) / 100:g}") if is_percent else ()
    return Finding(reason=reason, edits=(Edit(start, stop, words),))


def _too_many_ranks(call: Invocation, seen: Reading) -> Finding | None:
    wanted, have = seen.deployment.device_count, len(seen.deployment.machine.devices)
    if wanted <= max(1, have):
        return None
    return Finding(
        reason=not_supported(
            "ranks_exceed_devices", option="--gpu", what="--gpu", line=call.statement.line, wanted=wanted, have=have
        )
    )


def _result(
    call: Invocation,
    version: str | None,
    findings: list[Finding],
    evaluated: Evaluated | None,
    again: Callable[[Invocation], list[Finding]],
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
        mended = invocation(statement)
        if mended is None:
            break
        remaining = again(replace(mended, engine=call.engine))
    versions = [finding.first_version for finding in findings if finding.first_version]
    needed = max(versions, key=parse_version) if versions and _all_parse(versions) else None
    if needed is not None and call.container is not None and not _is_beyond_edits(findings):
        corrected = _retagged(corrected or call.statement.argv, call, needed)
    return Checked(
        call=call,
        version=version,
        findings=tuple(findings),
        corrected=corrected,
        corrected_version=needed,
        evaluated=evaluated,
    )


def _next_edits(findings: list[Finding]) -> list[Edit]:
    """Options first: what fits depends on them. Warnings about memory change nothing by themselves."""
    options = [finding for finding in findings if finding.reason.verdict is not Verdict.DOES_NOT_FIT]
    memory = [f for f in findings if f not in options and f.reason.severity is Severity.BLOCKER]
    first = [edit for finding in options for edit in finding.edits]
    return first or [edit for finding in memory for edit in finding.edits][:1]


def _is_beyond_edits(findings: list[Finding]) -> bool:
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


def notes_of(answer: CheckAnswer) -> Iterator[Reason]:
    """What was assumed."""
    for item in answer.checked:
        made = item.call.engine
        if made is not None and item.version is not None and made.is_newer(item.version):
            yield note("version_newer", engine=made.id, version=item.version, newest=made.versions[-1])
