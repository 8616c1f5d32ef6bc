"""What vLLM's log would print for a deployment: the figures that measured cases are compared with."""

from collections.abc import Callable, Mapping
from typing import Any

from fitserve.engines.contract import Deployment, MemoryBudget
from fitserve.engines.vllm.memory import StageBudget, pool_interval
from fitserve.engines.vllm.rules import at_least, feature
from fitserve.foundation.intervals import Interval
from fitserve.foundation.reasons import Severity
from fitserve.foundation.units import GIB


def log_figures(deployment: Deployment, budget: MemoryBudget) -> Mapping[str, Interval]:
    """Figures by the names that evidence uses; of the first rank with the smallest pool."""
    stage: StageBudget = budget.details["stage"]
    pool = pool_interval(stage)
    block = stage.pool.bytes_per_block or 1
    length = deployment.context_tokens
    return {
        "weights_gib": _scaled(stage.weights, 1 / GIB),
        "activations_gib": _scaled(stage.activations, 1 / GIB),
        "non_torch_gib": _scaled(stage.runtime, 1 / GIB),
        "cuda_graphs_gib": _scaled(stage.graphs, 1 / GIB),
        "kv_cache_gib": _scaled(pool, 1 / GIB),
        "num_gpu_blocks": _scaled(pool, 1 / block),
        "kv_needed_gib": Interval.exact(stage.pool.needed_bytes(length) / GIB),
        "bytes_per_block": Interval.exact(stage.pool.bytes_per_block),
        "kv_groups": Interval.exact(len(stage.pool.groups)),
        "num_blocks": Interval.exact(stage.pool.block_count(stage.pool_bytes)),
        "block_tokens_resolved": Interval.exact(max((group.block_tokens for group in stage.pool.groups), default=0)),
        "max_concurrency": _by_pool(pool, lambda size: stage.pool.max_concurrency(size, length)),
        "estimated_max_context_tokens": _by_pool(pool, lambda size: stage.pool.longest_request(size, length)),
        "kv_tokens": _by_pool(pool, lambda size: kv_tokens(deployment.engine_version, stage, size, length)),
    }


_OPTIONS = {
    "gpu_memory_utilization": "gpu-memory-utilization",
    "max_num_batched_tokens": "max-num-batched-tokens",
    "kv_pool_bytes": "kv-cache-memory-bytes",
    "block_tokens": "block-size",
    "num_speculative_tokens": "num-speculative-tokens",
}
_SWITCHES = {
    "enforce_eager": "enforce-eager",
    "hybrid_kv_manager": "hybrid-kv-cache-manager",
    "prefix_caching": "enable-prefix-caching",
    "async_scheduling": "async-scheduling",
}


def given_options(given: Mapping[str, Any]) -> Mapping[str, str]:
    """Options of the server that a measured case was run with."""
    options = {option: str(given[key]) for key, option in _OPTIONS.items() if given.get(key) is not None}
    return options | {
        option: str(bool(given[key])).lower() for key, option in _SWITCHES.items() if given.get(key) is not None
    }


def outcome(budget: MemoryBudget) -> str:
    """What the start would come to, in the words of measured cases."""
    codes = {reason.code for reason in budget.reasons if reason.severity is Severity.BLOCKER}
    for word, causes in (
        ("refused", {"vllm_kv_groups_refused", "too_few_state_blocks"}),
        ("oom_weights", {"weights_exceed_memory"}),
        ("oom_kv", {"nothing_left_for_kv", "kv_pool_too_small"}),
        ("oom_cuda_graphs", {"graphs_exceed_rest"}),
    ):
        if codes & causes:
            return word
    return "ok"


def _scaled(value: Interval, factor: float) -> Interval:
    return Interval(value.low * factor, value.likely * factor, value.high * factor)


def _by_pool(pool: Interval, figure: Callable[[int], float]) -> Interval:
    low, likely, high = (float(figure(max(0, int(size)))) for size in (pool.low, pool.likely, pool.high))
    return Interval(low, likely, high)


def kv_tokens(version: str, stage: StageBudget, pool_bytes: int, length: int) -> int:
    """The figure of the line `KV cache size: N tokens`, whose meaning changed at 0.20.1."""
    if at_least(version, feature("tokens_line_is_concurrency_from")):
        return int(stage.pool.max_concurrency(pool_bytes, length) * length)
    groups = len(stage.pool.groups) or 1
    smallest = min((group.block_tokens for group in stage.pool.groups), default=0)
    return stage.pool.block_count(pool_bytes) // groups * smallest
