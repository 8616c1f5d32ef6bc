"""Remedies of a cause as changed commands: a change of the deployment counts when the engine's own rules say that it fits."""

import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from fitserve.diagnose.budget import first_release, judged_again
from fitserve.diagnose.signatures import cause_row, remedy_row
from fitserve.diagnose.types import Budgeted, Cause, Known, Remedy
from fitserve.engines.contract import LaunchCommand
from fitserve.engines.registry import engine
from fitserve.foundation.errors import FitserveError
from fitserve.plan.answer import launch_command
from fitserve.search.evaluate import Evaluated, Fix

COMPUTED = "computed"
_BLANK = re.compile(r"\{(\w+)\}")
_SHARE_STEPS = 0.01
_LEAST_SHARE = 0.3
_NEEDED_TOKENS = 256
"""A context that a message allows is rounded down to whole steps of this many tokens."""


def with_remedies(cause: Cause, known: Known, judged: Budgeted | None, is_first: bool = True) -> Cause:
    """A cause with what mends it, best first: what the log itself allows, what was judged again, then the rest.

    Only the first cause is told what else runs on the machine.
    """
    row = cause_row(cause.code)
    parameters = _parameters(cause, judged)
    static = [made for code in row.get("remedies", ()) if (made := _remedy(code, parameters, cause, known, judged))]
    computed = list(_computed(row.get("recompute"), judged, is_first))
    sure = [item for item in static if item.command is not None and item.change]
    knobs = {name for item in sure for name in item.change if name != "set"}
    computed = [item for item in computed if len(item.change) > 1 or not knobs & item.change.keys()]
    if computed and row.get("recompute") == "memory":
        # where a change was judged, a phrase about the same thing says less
        static = [item for item in static if item.command is not None or item.environment or item.run]
    rest = [item for item in static if item not in sure]
    first = (*sure, *computed, *rest) if row.get("recompute") == "memory" else (*sure, *rest, *computed)
    return replace(cause, remedies=first, parameters=parameters)


def _parameters(cause: Cause, judged: Budgeted | None) -> Mapping[str, Any]:
    """What the cause's texts may name: captured values and what follows from them."""
    found = dict(cause.parameters)
    free, total = found.get("free_gib"), found.get("total_memory_gib")
    if free and total and float(total):
        share = int(float(free) / float(total) / _SHARE_STEPS) * _SHARE_STEPS - _SHARE_STEPS
        if share >= _LEAST_SHARE:
            found["share"] = f"{share:.2f}"
    longest = found.get("estimated_max_context_tokens")
    if isinstance(longest, int) and longest > _NEEDED_TOKENS:
        found["estimated_max_context_tokens"] = longest // _NEEDED_TOKENS * _NEEDED_TOKENS
    if judged is not None and cause_row(cause.code).get("recompute") in {"version", "load"}:
        version = first_release(judged.evaluated)
        if version is not None:
            found["first_version"] = version
            found["newest_version"] = engine(judged.deployment.engine).versions[-1]
    return found


def _remedy(
    code: str, parameters: Mapping[str, Any], cause: Cause, known: Known, judged: Budgeted | None
) -> Remedy | None:
    """One remedy with its blanks filled; None for one that this engine does not have."""
    row = remedy_row(code)
    values = {**row.get("default", {}), **parameters}
    change = {name: text for name, raw in row.get("change", {}).items() if (text := _filled(raw, values)) is not None}
    option = str(change.get("set", "")).partition("=")[0]
    engine_id = cause.engine or known.engine
    if (
        option
        and engine_id is not None
        and f"--{option}" not in engine(engine_id).known_options(_release(known, engine_id))
    ):
        return None
    run = tuple(text for raw in row.get("run", ()) if (text := _filled(raw, values)) is not None)
    made = Remedy(
        code=code,
        change=change,
        environment=dict(row.get("environment", {})),
        container=tuple(row.get("container", ())),
        run=run if len(run) == len(row.get("run", ())) else (),
        parameters={**dict.fromkeys(_NAMES), **parameters},
    )
    return _launched(made, judged, cause)


_NAMES = (
    "lora_rank", "first_version", "port", "package", "estimated_max_context_tokens", "mamba_blocks", "share", "gpu_count",
)  # fmt: skip


def _filled(raw: str, values: Mapping[str, Any]) -> str | None:
    """A text with its blanks filled; None when one has no value."""
    if any(values.get(name) is None for name in _BLANK.findall(raw)):
        return None
    return _BLANK.sub(lambda match: str(values[match[1]]), raw)


def _release(known: Known, engine_id: str) -> str:
    made = engine(engine_id)
    return known.engine_version if known.engine_version and known.engine == engine_id else made.versions[-1]


def _launched(made: Remedy, judged: Budgeted | None, cause: Cause) -> Remedy | None:
    """A remedy with the changed command. A change that is judged not to fit is no remedy, unless the log vouches for it."""
    if judged is None or not (made.change or made.environment):
        return made
    item = _changed(judged.evaluated, made.change) if made.change else judged.evaluated
    if item is None:
        return replace(made, change={}) if made.change else made
    is_memory = cause_row(cause.code).get("recompute") == "memory"
    is_vouched = made.code == "lower_context" and "estimated_max_context_tokens" in cause.parameters
    if made.change and is_memory and not item.fits and not is_vouched:
        return None
    command = launch_command(item) if item.fits else _tight_command(item) if is_vouched else None
    if command is None:
        return made
    return replace(made, command=replace(command, env={**command.env, **made.environment}), is_native=is_native(item))


def _tight_command(item: Evaluated) -> LaunchCommand | None:
    """The command of a deployment that is judged a little too large, where the log says that it fits."""
    if not item.is_memory_only:
        return None
    try:
        return engine(item.deployment.engine).command(item.deployment)
    except FitserveError:
        return None


def _changed(item: Evaluated, change: Mapping[str, str | int]) -> Evaluated | None:
    """The deployment with a change judged again; None where the engine knows no such value."""
    deployment = item.deployment
    fields: dict[str, Any] = {}
    if "context" in change:
        fields["context_tokens"] = int(change["context"])
    if "kv-format" in change:
        fields["kv_format"] = str(change["kv-format"])
    if "engine-version" in change:
        fields["engine_version"] = str(change["engine-version"])
    if "set" in change:
        name, _, value = str(change["set"]).partition("=")
        if name == "max-num-seqs":
            fields["max_num_seqs"] = int(value)
        else:
            fields["options"] = {**deployment.options, name: value}
    if not fields or "offload" in change:
        return None
    return judged_again(item, **fields)


def _computed(kind: str | None, judged: Budgeted | None, is_first: bool) -> Iterator[Remedy]:
    """Changes along one knob that were judged to fit, then the plan that runs on this machine all the same."""
    if judged is None or not is_first:
        return
    for fix in judged.evaluated.fixes if kind is not None else ():
        yield of_fix(fix)
    if judged.instead is not None:
        yield of_fix(judged.instead)


def of_fix(fix: Fix) -> Remedy:
    """A judged change with its command."""
    return Remedy(
        code=COMPUTED, change=fix.change, fix=fix, command=launch_command(fix.result), is_native=is_native(fix.result)
    )


def is_native(item: Evaluated) -> bool:
    """Whether the engine runs on the machine's own system."""
    return item.deployment.machine.host.os in engine(item.deployment.engine).native_os
