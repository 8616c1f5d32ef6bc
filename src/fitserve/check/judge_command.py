"""What an engine's release says of one command: its options, the model, the machine."""

from dataclasses import dataclass, replace

from fitserve.check.config_files import environment_findings
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
from fitserve.check.engine_lint import extra_words, option_findings
from fitserve.check.options import Given, ParsedOptions, parse
from fitserve.check.programs import Invocation, base_name
from fitserve.check.releases import ReleaseOptions, release_options
from fitserve.check.request import CheckRequest
from fitserve.check.safety import safety_findings
from fitserve.check.types import Edit, Finding
from fitserve.engines.contract import Engine
from fitserve.foundation.errors import InputError
from fitserve.foundation.reasons import not_supported, note
from fitserve.hardware.identify import identify
from fitserve.hardware.types import Host, Machine
from fitserve.plan.world import ModelRead, World
from fitserve.search.evaluate import Evaluated

_STAND_IN = "h200-sxm-141gb"
"""A device that every format and release runs on: with it only what holds on all machines is said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """What a command is judged against. `machine` is None when nobody named one."""

    request: CheckRequest
    machine: Machine | None
    world: World


@dataclass(frozen=True, slots=True, kw_only=True)
class Judgement:
    """Findings of the engine, and the deployment with its verdict when model and machine are known."""

    findings: tuple[Finding, ...] = ()
    evaluated: Evaluated | None = None


def judge_command(made: Engine, version: str, call: Invocation, setting: Setting) -> Judgement:
    """All findings about a command line of an engine."""
    release = release_options(made.id, version, call.program)
    if release is None:
        return Judgement()
    parsed = parse(call.arguments, release)
    findings = (
        *_entry(made, call),
        *option_findings(made, call, parsed, release),
        *extra_words(made, call, parsed),
        *safety_findings(made, call, parsed),
        *environment_findings(made, call, release),
    )
    judged = judge_model(made, release, call, parsed, setting)
    return Judgement(findings=(*findings, *judged.findings), evaluated=judged.evaluated)


def judge_model(
    made: Engine, release: ReleaseOptions, call: Invocation, parsed: ParsedOptions, setting: Setting
) -> Judgement:
    """What the engine says of the model and the machine."""
    stated = setting.request.model
    written = model_text(made, parsed)
    if written is None:
        return Judgement()  # a server that gets its model later, or from a file
    found = find_model(written, setting.world.read_model, stated)
    if found is None:
        return Judgement(findings=(unread_model(call, written),))
    seen, refused = _reading(made, release, parsed, call, found, written, setting.machine)
    if seen is None:
        return Judgement(findings=tuple(refused))
    findings = (*refused, *format_findings(made, call, seen), *verdict_findings(made, call, seen, parsed))
    return Judgement(findings=findings, evaluated=judge(seen) if seen.is_machine_known else None)


def _entry(made: Engine, call: Invocation) -> list[Finding]:
    """An older way to start the engine: it still works, the newer one says the same."""
    renamed = made.facts["command_line"].get("renamed_programs", {}).get(call.program)
    if renamed is not None:
        written = call.statement.argv[call.start - 1]
        edit = Edit(call.start - 1, call.start, (written.replace(base_name(written), renamed["instead"]),))
        reason = not_supported(
            "program_renamed", option=written, what=written, line=call.statement.line, engine=made.id, **renamed
        )
        return [Finding(reason=reason, edits=(edit,))]
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
            seen = reading(made, call, release, parsed, found, written, machine or stand_in, machine is not None)
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
