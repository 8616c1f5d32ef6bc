"""What measured cases compare, for engines whose logs have no figures of their own: outcome, totals, cache bytes."""

from collections.abc import Mapping
from typing import Any

from fitserve.engines.contract import Deployment, MemoryBudget
from fitserve.footprint.ranks import rank_request_bytes, rank_state_bytes
from fitserve.foundation.intervals import Interval, add_independent
from fitserve.foundation.reasons import Severity
from fitserve.foundation.units import GIB, MIB

_OUTCOMES = (
    ("oom_weights", {"weights_exceed_memory"}),
    ("oom_kv", {"cache_has_no_room", "cache_too_small", "device_overflows", "ram_overflows"}),
)


def outcome(budget: MemoryBudget) -> str:
    """What the start comes to, in the words of measured cases."""
    codes = {reason.code for reason in budget.reasons if reason.severity is Severity.BLOCKER}
    return next((word for word, causes in _OUTCOMES if codes & causes), "ok")


def server_figures(deployment: Deployment, budget: MemoryBudget) -> Mapping[str, Interval]:
    """Weights and cache of the fullest device in GiB, tokens of the cache, and totals in MiB and GB."""
    del deployment
    largest = max(budget.devices, key=lambda device: device.used_bytes, default=None)
    figures: dict[str, Interval] = {}
    if largest is not None:
        for name, code in (
            ("weights_gib", "weights"),
            ("kv_cache_gib", "kv_cache"),
            ("cuda_graphs_gib", "cuda_graphs"),
        ):
            parts = [item.bytes for item in largest.items if item.code == code]
            if parts:
                figures[name] = scaled(add_independent(parts), 1 / GIB)
    figures["kv_tokens"] = Interval.exact(budget.kv.capacity_tokens)
    figures["max_concurrency"] = Interval.exact(budget.kv.max_concurrency)
    total = budget.total_bytes
    figures["total_mib"] = figures["total_mib.all"] = scaled(total, 1 / MIB)
    figures["total_gb"] = scaled(total, 1e-9)
    return figures


def scaled(value: Interval, factor: float) -> Interval:
    """An interval in another unit."""
    return Interval(value.low * factor, value.likely * factor, value.high * factor)


def no_given_options(given: Mapping[str, Any]) -> Mapping[str, str]:
    """Options of a measured case, for an engine of which no case states any."""
    del given
    return {}


def cache_bytes(deployment: Deployment, sequences: int, part: str, element_bytes: float = 2.0) -> int:
    """Bytes of the cache of some sequences with perfect windows; `part` says cache, recurrent state, or both."""
    model = deployment.model
    cache = 0 if part == "recurrent state" else rank_request_bytes(model, deployment.context_tokens, element_bytes)
    states = rank_state_bytes(model) if "state" in part else 0
    return (cache + states) * sequences
