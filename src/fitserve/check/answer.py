"""The one use case of `check`: a pasted text to findings, the corrected command and the plan that it amounts to."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from fitserve.check.bash import typographic
from fitserve.check.config_files import config_file
from fitserve.check.judge_command import Setting, judge_command, judge_model
from fitserve.check.mend import Checked, has_blocker, is_beyond_edits, mended
from fitserve.check.programs import Invocation, invocation
from fitserve.check.releases import release_options
from fitserve.check.request import CheckRequest
from fitserve.check.safety import common_findings
from fitserve.check.script import read_script
from fitserve.check.tools import tool_findings
from fitserve.check.types import Finding, Script
from fitserve.engines.contract import Engine
from fitserve.engines.registry import engine, engines
from fitserve.foundation.errors import FitserveError, InputError
from fitserve.foundation.reasons import Reason, note
from fitserve.hardware.types import Machine
from fitserve.plan.answer import plan
from fitserve.plan.machine import machine_of
from fitserve.plan.request import HardwareRequest, PlanRequest
from fitserve.plan.world import World
from fitserve.search.evaluate import Evaluated
from fitserve.workload.presets import preset

_PARENT_ONLY = {
    "option_of_fork", "option_removed", "option_never_known", "option_too_new", "option_not_in_list", "option_value_missing",
    "option_choice_wrong", "option_type_wrong", "file_type_of_fork", "format_of_a_fork",
}  # fmt: skip
"""What can be said of an engine, but not of a fork of it."""


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


def _line(reason: Reason) -> int:
    line = reason.parameters.get("line")
    return line if isinstance(line, int) else 0


def check(request: CheckRequest, world: World) -> CheckAnswer:
    """The judgement of a text. Raises InputError for a machine, engine or version that is none; runs nothing."""
    script = read_script(request.command, request.os)
    setting = Setting(request=request, machine=_machine(request, world), world=world)
    stated, fork = _stated(request)
    document = _document(script, stated, setting)
    if document is not None:
        return CheckAnswer(request=request, script=script, checked=(document,))
    checked = []
    for statement in script.statements:
        call = invocation(statement)
        if call is not None:
            item = _statement(call, stated, setting)
            checked.append(of_fork(item, fork) if fork is not None and item.call.engine is not None else item)
    answer = CheckAnswer(request=request, script=script, checked=tuple(checked))
    return replace(answer, instead=_instead(answer, world) if setting.machine is not None else None)


def _document(script: Script, stated: Engine | None, setting: Setting) -> Checked | None:
    """A configuration file judged as the command that it stands for; None for scripts of commands."""
    file = config_file(script, stated) if script.syntax in {"modelfile", "config"} and script.statements else None
    if file is None:
        return None
    version = _version(file.engine, file.call, setting)
    release = release_options(file.engine.id, version)
    if release is None:
        return None
    judged = judge_model(file.engine, release, file.call, file.parsed, setting)
    findings = tuple(replace(finding, edits=()) for finding in (*file.findings, *judged.findings))
    return Checked(
        call=file.call,
        version=version,
        findings=findings,
        corrected=None,
        corrected_version=None,
        evaluated=judged.evaluated,
    )


def _instead(answer: CheckAnswer, world: World) -> Evaluated | None:
    """The best plan for the same model and machine, when constraints or memory stand against the command."""
    main = answer.main
    judged = main.evaluated if main is not None else None
    if main is None or judged is None or judged.fits or not is_beyond_edits(main.findings):
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
    # the values were validated as fields of this request already; bytes read as text would be taken for GiB
    hardware = HardwareRequest.model_construct(gpu=request.gpu, ram=request.ram, os=request.os)
    return machine_of(hardware, world)[0]


def _statement(call: Invocation, stated: Engine | None, setting: Setting) -> Checked:
    made = call.engine
    if made is None:
        findings = [*typographic(call.statement), *call.findings, *common_findings(call), *tool_findings(call)]
        return mended(call, None, findings, None, lambda again: [*tool_findings(again), *common_findings(again)])
    if stated is not None:
        made, call = stated, replace(call, engine=stated)
    version = _version(made, call, setting)
    judged = judge_command(made, version, call, setting)
    findings = [*typographic(call.statement), *call.findings, *common_findings(call), *judged.findings]
    return mended(
        call, version, findings, judged.evaluated, lambda again: judge_command(made, version, again, setting).findings
    )


def _version(made: Engine, call: Invocation, setting: Setting) -> str:
    """The release to judge by: named, installed here, that of the image, or the newest known."""
    request, world = setting.request, setting.world
    named = request.engine_version or (request.engine or "").partition("==")[2]
    if named == "installed":
        found = world.installed_version(made.id) if world.installed_version is not None else None
        if found is None:
            raise InputError.of("engine_not_installed", engine=made.id)
        named = found
    if named:
        return made.parse_version(named)
    tag = call.container.tag.removeprefix("v") if call.container is not None else ""
    try:
        return made.parse_version(tag) if any(letter.isdigit() for letter in tag) else made.versions[-1]
    except InputError:
        return made.versions[-1]


def notes_of(answer: CheckAnswer) -> Iterator[Reason]:
    """What was assumed."""
    for item in answer.checked:
        made = item.call.engine
        if made is not None and item.version is not None and made.is_newer(item.version):
            yield note("version_newer", engine=made.id, version=item.version, newest=made.versions[-1])
