"""The nearest change along each knob that makes a rejected candidate fit. Every fix is a judged deployment, not a phrase."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from fitserve.engines.contract import Candidate, Deployment, Engine
from fitserve.engines.registry import engine
from fitserve.foundation.errors import InputError
from fitserve.foundation.reasons import Verdict
from fitserve.hardware.types import Machine
from fitserve.search.enumerate import with_least_offload
from fitserve.search.evaluate import Evaluated, Evaluator, Fix

_CONTEXT_STEPS = (1024, 256)
_SHORTEST_CONTEXT = 1024
"""A shorter context holds no conversation; a smaller model or format is the better fix."""
_MOST_DEVICES = 16
_FEWEST_RANKS = 2
_VERSION_PARAMETERS = ("first_version", "last_version")


def nearest_fixes(rejected: Evaluated, siblings: list[Candidate], evaluate: Evaluator) -> tuple[Fix, ...]:
    """Fixes of a rejected candidate, one a knob; `siblings` are the other formats of its engine, best first."""
    chosen = engine(rejected.deployment.engine)
    tries: list[Callable[[], Fix | None]] = [
        lambda: _context(rejected, evaluate),
        lambda: _kv_format(rejected, chosen, evaluate),
        lambda: _sequences(rejected, evaluate),
        lambda: _batch_limit(rejected, evaluate),
        lambda: _split(rejected, chosen, evaluate),
        lambda: _experts_whole(rejected, evaluate),
        lambda: _lower_format(rejected, chosen, siblings, evaluate),
        lambda: _offload(rejected, chosen, evaluate),
        lambda: _more_devices(rejected, chosen, evaluate),
        lambda: _version(rejected, chosen, siblings, evaluate),
    ]
    return tuple(fix for attempt in tries if (fix := attempt()) is not None)


def _context(rejected: Evaluated, evaluate: Evaluator) -> Fix | None:
    """A shorter context: the longest that fits, in whole thousands."""
    asked = rejected.deployment.context_tokens
    if rejected.budget is None or (
        rejected.verdict is Verdict.NOT_SUPPORTED and not rejected.has("context_beyond_model")
    ):
        return None
    limit = min(asked - 1, rejected.deployment.model.max_context_tokens, rejected.budget.kv.max_context_tokens)
    for step in _CONTEXT_STEPS:
        context = limit // step * step
        if context >= _SHORTEST_CONTEXT:
            result = evaluate(replace(rejected.deployment, context_tokens=context))
            if result.fits:
                return Fix(knob="context", change={"context": context}, result=result, instead_of=asked)
    return None


def _kv_format(rejected: Evaluated, chosen: Engine, evaluate: Evaluator) -> Fix | None:
    deployment = rejected.deployment
    for kv_format in chosen.kv_formats(deployment):
        if kv_format != deployment.kv_format:
            result = evaluate(replace(deployment, kv_format=kv_format))
            if result.fits:
                return Fix(
                    knob="kv_format", change={"kv-format": kv_format}, result=result, instead_of=deployment.kv_format
                )
    return None


def _sequences(rejected: Evaluated, evaluate: Evaluator) -> Fix | None:
    """Fewer sequences at once: smaller activations, fewer slots."""
    if not rejected.is_memory_only:
        return None
    asked = rejected.deployment.max_num_seqs or rejected.deployment.concurrent_requests
    number = asked // 2
    while number >= 1:
        changed = replace(
            rejected.deployment,
            concurrent_requests=number,
            max_num_seqs=number if rejected.deployment.max_num_seqs else None,
        )
        result = evaluate(changed)
        if result.fits:
            return Fix(knob="concurrency", change={"concurrency": number}, result=result, instead_of=asked)
        number //= 2
    return None


def _batch_limit(rejected: Evaluated, evaluate: Evaluator) -> Fix | None:
    """No more sequences at once than are asked for, where the engine prepares for more."""
    deployment, budget = rejected.deployment, rejected.budget
    if not rejected.is_memory_only or budget is None or deployment.max_num_seqs is not None:
        return None
    asked = deployment.concurrent_requests
    if asked >= budget.max_num_seqs:
        return None
    result = evaluate(replace(deployment, max_num_seqs=asked))
    if not result.fits:
        return None
    return Fix(knob="max_num_seqs", change={"max-num-seqs": asked}, result=result, instead_of=budget.max_num_seqs)


def _experts_whole(rejected: Evaluated, evaluate: Evaluator) -> Fix | None:
    """Experts whole on a device, where shares of them cannot be cut."""
    deployment = rejected.deployment
    ranks = deployment.tp * deployment.dp
    if rejected.is_memory_only or ranks < _FEWEST_RANKS or deployment.ep > 1:
        return None
    if not any(layer.experts for layer in deployment.model.layers):
        return None
    result = evaluate(replace(deployment, ep=ranks))
    return Fix(knob="ep", change={"ep": ranks}, result=result, instead_of=1) if result.fits else None


def _split(rejected: Evaluated, chosen: Engine, evaluate: Evaluator) -> Fix | None:
    """Another way to spread it over the devices that are there."""
    deployment = rejected.deployment
    for tp, pp in chosen.splits(deployment.model, deployment.machine, deployment.engine_version):
        if (tp, pp) != (deployment.tp, deployment.pp):
            result = evaluate(replace(deployment, tp=tp, pp=pp, dp=1))
            if result.fits:
                return Fix(
                    knob="split", change=_sizes(tp, pp), result=result, instead_of=f"{deployment.tp}x{deployment.pp}"
                )
    return None


def _sizes(tp: int, pp: int) -> dict[str, str | int]:
    sizes: dict[str, str | int] = {name: size for name, size in (("tp", tp), ("pp", pp)) if size > 1}
    return sizes or {"tp": 1}


def _lower_format(rejected: Evaluated, chosen: Engine, siblings: list[Candidate], evaluate: Evaluator) -> Fix | None:
    """The widest narrower format that fits, on the same engine."""
    deployment = rejected.deployment
    bits = deployment.weight_format.effective_bits()
    narrower = [s for s in siblings if s.weight_format.name != deployment.weight_format.name]
    if rejected.is_memory_only:
        narrower = [s for s in narrower if s.weight_format.effective_bits() < bits]
    splits = dict.fromkeys(
        [
            (deployment.tp, deployment.pp),
            *chosen.splits(deployment.model, deployment.machine, deployment.engine_version),
        ]
    )
    slower: Fix | None = None
    for sibling in sorted(narrower, key=lambda s: (s.needs_quantizing, -s.weight_format.effective_bits())):
        for tp, pp in splits:
            changed = replace(
                deployment, weight_format=sibling.weight_format, repository=sibling.repository, tp=tp, pp=pp
            )
            result = evaluate(changed, sibling.needs_quantizing)
            if not result.fits:
                continue
            change = {
                "format": sibling.weight_format.name,
                **({} if (tp, pp) == (deployment.tp, deployment.pp) else _sizes(tp, pp)),
            }
            fix = Fix(knob="format", change=change, result=result, instead_of=deployment.weight_format.name)
            if result.is_accelerated:
                return fix
            slower = slower or fix
    return slower


def _offload(rejected: Evaluated, chosen: Engine, evaluate: Evaluator) -> Fix | None:
    if rejected.deployment.offload_layers or not rejected.is_memory_only:
        return None
    result = with_least_offload(chosen, rejected.deployment, evaluate)
    if result is None or result.deployment.offload_layers is None:
        return None
    return Fix(knob="offload", change={"offload": result.deployment.offload_layers}, result=result, instead_of="no")


def _more_devices(rejected: Evaluated, chosen: Engine, evaluate: Evaluator) -> Fix | None:
    """More of the same device: as few as make it fit."""
    deployment = rejected.deployment
    devices = deployment.machine.devices
    if not devices or devices[0].is_unified or not rejected.is_memory_only or rejected.budget is None:
        return None
    usable = min(device.usable_bytes for device in rejected.budget.devices) or 1
    start = max(len(devices) + 1, rejected.budget.weights_bytes // usable)
    for count in range(start, _MOST_DEVICES + 1):
        larger = Machine(devices=(*devices, *(devices[-1],) * (count - len(devices))), host=deployment.machine.host)
        for tp, pp in _whole(chosen, deployment, larger, count):
            result = evaluate(replace(deployment, machine=larger, tp=tp, pp=pp))
            if result.fits:
                change: dict[str, str | int] = {"gpu": f"{devices[-1].id}:{count}", **_sizes(tp, pp)}
                return Fix(knob="devices", change=change, result=result, instead_of=len(devices))
    return None


def _whole(chosen: Engine, deployment: Deployment, machine: Machine, count: int) -> Iterator[tuple[int, int]]:
    for tp, pp in chosen.splits(deployment.model, machine, deployment.engine_version):
        if tp * pp == count:
            yield tp, pp


def _version(rejected: Evaluated, chosen: Engine, siblings: list[Candidate], evaluate: Evaluator) -> Fix | None:
    """Another release, where a reason names one: the last that still knows the GPU, the first that knows the model.

    When the format does not run there either, the widest that does.
    """
    named = [
        str(r.parameters[name]) for r in rejected.reasons for name in _VERSION_PARAMETERS if r.parameters.get(name)
    ]
    for version in dict.fromkeys([*named, chosen.versions[-1]]):
        if version == rejected.deployment.engine_version:
            continue
        try:
            other = replace(rejected.deployment, engine_version=chosen.parse_version(version))
        except InputError:
            continue
        change: dict[str, str | int] = {"engine": chosen.id, "engine-version": other.engine_version}
        result = evaluate(other, rejected.needs_quantizing)
        if result.fits:
            return Fix(knob="version", change=change, result=result, instead_of=rejected.deployment.engine_version)
        fix = _lower_format(result, chosen, siblings, evaluate)
        if fix is not None:
            return replace(
                fix, knob="version", change={**change, **fix.change}, instead_of=rejected.deployment.engine_version
            )
    return None


def other_engine(rejected: Evaluated, plans: list[Evaluated]) -> Fix | None:
    """The plan of another engine with the nearest bits per weight, for what no change to this engine mends."""
    others = [
        plan
        for plan in plans
        if plan.deployment.engine != rejected.deployment.engine and not plan.deployment.offload_layers
    ]
    bits = rejected.deployment.weight_format.effective_bits()
    best = min(others, key=lambda plan: abs(plan.deployment.weight_format.effective_bits() - bits), default=None)
    if best is None:
        return None
    change: dict[str, str | int] = {"engine": best.deployment.engine, "format": best.deployment.weight_format.name}
    return Fix(knob="engine", change=change, result=best, instead_of=rejected.deployment.engine)
