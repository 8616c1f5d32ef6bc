"""mlx-lm's memory: weights, a cache for every request that runs, and what the rest of Metal's working set may hold.

Finished conversations stay cached (LRUPromptCache) in what is left; the command bounds them.
"""

from dataclasses import replace

from fitserve.engines.budgets import Rank, fixed_cache
from fitserve.engines.contract import Deployment, MemoryBudget, MemoryItem
from fitserve.engines.mlx.cache import request_bytes, state_bytes, token_bytes
from fitserve.engines.mlx.rules import feature, feature_source, feature_spread
from fitserve.engines.releases import at_least
from fitserve.footprint.prefill import prefill_bytes
from fitserve.footprint.weights import weight_bytes
from fitserve.foundation.intervals import Basis, Interval
from fitserve.foundation.reasons import Reason, Severity, warning
from fitserve.foundation.units import MIB

_EXACT = Basis("exact", "shapes of the model; mlx.core.quantize")
_ACTIVATIONS = Basis("estimated", "footprint/prefill.py over one prefill step")
_RUNTIME = Basis("estimated", "engines/mlx/facts.toml runtime_bytes")


def slots(deployment: Deployment) -> int:
    """Requests decoded at once: one where the release, or a quantized cache, cannot batch."""
    batches = at_least(deployment.engine_version, feature("batching_from")) and deployment.kv_format in {
        "auto",
        "f16",
        "bf16",
    }
    return max(1, deployment.max_num_seqs or deployment.concurrent_requests) if batches else 1


def _rank(deployment: Deployment) -> Rank:
    model = deployment.model
    weights = weight_bytes(model, deployment.weight_format, parts=("text",))
    activations = prefill_bytes(model, min(feature("prefill_step_tokens"), deployment.context_tokens))
    runtime, spread = feature("runtime_bytes"), feature_spread("runtime_bytes")
    return Rank(
        weights=MemoryItem(code="weights", bytes=Interval.around(weights, 0.01, 0.02), basis=_EXACT),
        items=(
            MemoryItem(code="activations", bytes=Interval.around(activations, 0.5, 1.0), basis=_ACTIVATIONS),
            MemoryItem(code="runtime", bytes=Interval(runtime - spread, runtime, runtime + 2 * spread), basis=_RUNTIME),
        ),
        limit_bytes=deployment.machine.devices[0].engine_visible_bytes,
        request_bytes=lambda tokens: request_bytes(deployment, tokens),
        token_bytes=token_bytes(deployment),
        state_bytes=state_bytes(deployment),
    )


def budget(deployment: Deployment) -> MemoryBudget:
    """Memory of the first device, the only one that is used. The machine must have one."""
    deployment = replace(deployment, tp=1, pp=1, dp=1)
    rank, count = _rank(deployment), slots(deployment)
    kv_format = "f16" if deployment.kv_format == "auto" else deployment.kv_format
    made = fixed_cache(deployment, (rank,), kv_format, count)
    return replace(made, reasons=(*made.reasons, *_advice(deployment, made, count)))


def prompt_cache_bytes(made: MemoryBudget) -> int:
    """What may stay cached of earlier conversations, in whole MiB: all that is left on the device."""
    device = made.devices[0]
    high = sum(item.bytes.high for item in device.items)
    return max(0, int(device.usable_bytes - high) // MIB * MIB)


def _advice(deployment: Deployment, made: MemoryBudget, count: int) -> tuple[Reason, ...]:
    found: list[Reason] = []
    if count < deployment.concurrent_requests:
        asked, version = deployment.concurrent_requests, deployment.engine_version
        found.append(warning("mlx_one_at_a_time", asked=asked, version=version))
    device = deployment.machine.devices[0]
    is_short = any(reason.severity is Severity.BLOCKER or reason.code == "tight" for reason in made.reasons)
    raised = device.memory_bytes - feature("macos_reserve_bytes")
    if (
        is_short
        and device.vendor == "apple"
        and made.devices[0].used_bytes <= raised
        and raised > device.engine_visible_bytes
    ):
        command = f"sudo sysctl iogpu.wired_limit_mb={raised // MIB}"
        found.append(
            warning("metal_limit_can_be_raised", feature_source("macos_reserve_bytes"), have_bytes=device.engine_visible_bytes,
                 need_bytes=made.devices[0].used_bytes, command=command)
        )  # fmt: skip
    return tuple(found)


def cache_bytes(deployment: Deployment, sequences: int, part: str) -> int:
    """Bytes of the cache of some sequences; `part` says cache, recurrent state, or both."""
    cache = 0 if part == "recurrent state" else request_bytes(deployment, deployment.context_tokens)
    return (cache + (state_bytes(deployment) if "state" in part else 0)) * sequences
