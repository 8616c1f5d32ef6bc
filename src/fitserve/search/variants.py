"""Other settings of a plan that win somewhere: batch limit, cache format, replicas, expert and pipeline parallel sizes.

The list of plans has one a format and engine; what one knob of such a plan could do better is said beside it, each judged
and with its speed. A variant stands where it is better by a step on some axis and no other variant beats it on all.
"""

import math
from collections.abc import Iterator
from dataclasses import replace

from fitserve.engines.contract import Deployment, Engine
from fitserve.engines.registry import engine
from fitserve.predict.types import Load
from fitserve.search.evaluate import Evaluated, Evaluator, Fix
from fitserve.search.speeds import with_speed
from fitserve.search.wishes import Wishes

AXES = ("per_user", "all_users", "first_token", "at_once")
_STEP = 1.1
"""A gain below a tenth is not told apart from none (as among splits)."""
_MOST_SHOWN = 4
_FEWEST_SEQUENCES = 16

Gains = tuple[float, float, float, float]


def gains(item: Evaluated) -> Gains | None:
    """What variants are compared by, more is better, in the order of AXES; None without a speed."""
    if item.speed is None or item.budget is None:
        return None
    speed = item.speed
    at_once = min(item.budget.kv.max_concurrency, float(item.budget.max_num_seqs * item.deployment.dp))
    return speed.per_user_tok_per_s.likely, speed.output_tok_per_s.likely, 1 / speed.ttft_s.likely, at_once


def variants_of(base: Evaluated, load: Load, wishes: Wishes, evaluate: Evaluator) -> tuple[Fix, ...]:
    """Variants of a plan that win on an axis, those with the most to gain first."""
    mine = gains(base)
    if mine is None or base.deployment.offload_layers:
        return ()
    chosen = engine(base.deployment.engine)
    found: list[tuple[Fix, Gains]] = []
    for knob, change, before, deployment in _changes(base, chosen, wishes):
        result = with_speed(evaluate(deployment, base.needs_quantizing), load, wishes.targets)
        theirs = gains(result)
        if not result.fits or theirs is None or (result.misses_target and not base.misses_target):
            continue
        wins = tuple(axis for axis, own, other in zip(AXES, mine, theirs, strict=True) if other >= _STEP * own)
        if wins:
            found.append((Fix(knob=knob, change=change, result=result, instead_of=before, wins=wins), theirs))
    kept = [
        (fix, own)
        for fix, own in found
        if not any(_beats(theirs, own) and _devices(other) <= _devices(fix) for other, theirs in found)
    ]
    kept.sort(key=lambda pair: -max(_times(own, theirs) for own, theirs in zip(mine, pair[1], strict=True)))
    return tuple(fix for fix, _ in kept[:_MOST_SHOWN])


def _times(own: float, theirs: float) -> float:
    """How many times better; where there was nothing (no room for a whole request), anything is endlessly better."""
    return theirs / own if own else math.inf if theirs else 1.0


def _devices(fix: Fix) -> int:
    return fix.result.deployment.device_count


def _beats(other: Gains, mine: Gains) -> bool:
    return other != mine and all(theirs >= own for theirs, own in zip(other, mine, strict=True))


_Change = tuple[str, dict[str, str | int], str | int | None, Deployment]


def _changes(base: Evaluated, chosen: Engine, wishes: Wishes) -> Iterator[_Change]:
    """One knob changed at a time; what the user fixed stays."""
    deployment = base.deployment
    if wishes.kv_format is None:
        for kv_format in chosen.kv_formats(deployment)[1:2]:  # the widest that is narrower than the usual one
            yield "kv_format", {"kv-format": kv_format}, deployment.kv_format, replace(deployment, kv_format=kv_format)
    if wishes.max_num_seqs is None:
        for count in _batch_limits(base):
            usual = None if base.budget is None else base.budget.max_num_seqs
            yield "max_num_seqs", {"max-num-seqs": count}, usual, replace(deployment, max_num_seqs=count)
    if len(deployment.machine.devices) > 1:
        yield from _parallel(deployment, chosen, wishes)


def _batch_limits(base: Evaluated) -> Iterator[int]:
    """As many sequences as are asked for, where the engine takes fewer; where it takes far more, no more than those."""
    assert base.budget is not None
    limit, asked = base.budget.max_num_seqs, base.deployment.concurrent_requests
    lower = max(_FEWEST_SEQUENCES, 1 << (asked - 1).bit_length())
    if asked > limit:
        yield asked
    elif 2 * lower < limit:
        yield lower


def _parallel(deployment: Deployment, chosen: Engine, wishes: Wishes) -> Iterator[_Change]:
    """Replicas over idle devices, experts whole on a device, stages in place of shares."""
    model, count = deployment.model, len(deployment.machine.devices)
    sizes = set(chosen.splits(model, deployment.machine, deployment.engine_version))
    has_experts = any(layer.experts for layer in model.layers)
    if wishes.dp is None and not chosen.places_layers:
        for tp, pp in sorted(sizes):
            dp = count // (tp * pp)
            if pp == 1 and dp > 1 and tp * dp == count and wishes.tp in (None, tp):
                yield "dp", {"tp": tp, "dp": dp}, deployment.dp, replace(deployment, tp=tp, pp=1, dp=dp, ep=1)
    ranks = deployment.tp * deployment.dp
    if wishes.ep is None and has_experts and ranks > 1 and deployment.ep == 1:
        yield "ep", {"ep": ranks}, 1, replace(deployment, ep=ranks)
    if wishes.pp is None and wishes.tp is None and deployment.dp == 1:
        for tp, pp in sorted(sizes):
            if pp > 1 and tp * pp == deployment.device_count and (tp, pp) != (deployment.tp, deployment.pp):
                yield "pp", {"tp": tp, "pp": pp}, deployment.pp, replace(deployment, tp=tp, pp=pp)
