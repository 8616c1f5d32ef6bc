"""The order of plans: quality first, then room for what was asked, then what needs no extra work, then headroom."""

from math import log

from fitserve.engines.registry import rank_of
from fitserve.search.evaluate import Evaluated, quality_class

_BEFORE_SPEED = 7
"""Places of `rank_key` that count more than speed among splits: targets, quality, room, work, hardware, engine."""
_SPEED_STEP = 1.1
"""Predicted speeds within 10 % of each other are not told apart (a choice, near the error of the prediction)."""
_COMFORT = 1.25
"""Headroom beyond a quarter more than asked no longer ranks a candidate over one of more bits (a choice, not a fact)."""


def rank_key(candidate: Evaluated) -> tuple[float, ...]:
    """Smaller is better; a total order of what fits."""
    deployment = candidate.deployment
    asked = deployment.context_tokens * deployment.concurrent_requests
    comfortable = (
        candidate.headroom_tokens >= _COMFORT * asked
        and not candidate.has("tight")
        and not candidate.has("requests_queue")
    )
    return (
        float(candidate.misses_target),
        float(bool(deployment.offload_layers)),
        float(quality_class(deployment.model, deployment.weight_format)),
        float(not comfortable) + float(candidate.speed is not None and candidate.speed.is_queued),
        float(candidate.needs_quantizing),
        float(not candidate.is_accelerated),
        float(rank_of(deployment.engine)),
        -deployment.weight_format.effective_bits(),
        -candidate.headroom_tokens,
        float(deployment.device_count),
    )


def split_key(candidate: Evaluated, use: str) -> tuple[float, ...]:
    """Among the splits of one engine and format: targets, room, then the speed that the purpose asks for.

    Jobs in bulk want tokens a second over all users, people want their next token.
    """
    speed = candidate.speed
    if speed is None:
        return (*rank_key(candidate)[:_BEFORE_SPEED], 0.0, *rank_key(candidate)[_BEFORE_SPEED:])
    # where users wait for room, the next token of those who are served is not what they wait for
    is_bulk = use == "batch" or speed.is_queued
    rate = speed.output_tok_per_s.likely if is_bulk else speed.per_user_tok_per_s.likely
    # figures that differ by less than a step are one: there the order without speed decides
    step = round(log(rate) / log(_SPEED_STEP))
    rest = rank_key(candidate)[_BEFORE_SPEED:]
    return (*rank_key(candidate)[:_BEFORE_SPEED], -float(step), *rest)


def closeness_key(candidate: Evaluated) -> tuple[float, ...]:
    """Among splits of a rejected candidate: the one that lacks least, supported ones first."""
    if candidate.budget is None:
        return (1.0, 0.0)
    lack = max((device.used_bytes - device.usable_bytes for device in candidate.budget.devices), default=0)
    return (float(not candidate.is_memory_only), float(lack), -float(candidate.deployment.device_count))
