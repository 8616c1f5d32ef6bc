"""The order of plans: quality first, then room for what was asked, then what needs no extra work, then headroom."""

from fitserve.engines.registry import rank_of
from fitserve.search.evaluate import Evaluated, quality_class

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
        float(bool(deployment.offload_layers)),
        float(quality_class(deployment.model, deployment.weight_format)),
        float(not comfortable),
        float(candidate.needs_quantizing),
        float(not candidate.is_accelerated),
        float(rank_of(deployment.engine)),
        -deployment.weight_format.effective_bits(),
        -candidate.headroom_tokens,
        float(deployment.device_count),
    )


def closeness_key(candidate: Evaluated) -> tuple[float, ...]:
    """Among splits of a rejected candidate: the one that lacks least, supported ones first."""
    if candidate.budget is None:
        return (1.0, 0.0)
    lack = max((device.used_bytes - device.usable_bytes for device in candidate.budget.devices), default=0)
    return (float(not candidate.is_memory_only), float(lack), -float(candidate.deployment.device_count))
