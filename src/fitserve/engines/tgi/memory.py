"""TGI's memory: after a warm-up prefill the cache takes a fixed share of what is left (flash_causal_lm.py warmup)."""

from dataclasses import replace

from fitserve.engines.budgets import Rank, shared_pool
from fitserve.engines.contract import Deployment, MemoryBudget, MemoryItem
from fitserve.engines.figures import cache_bytes as plain_cache_bytes
from fitserve.engines.tgi.rules import feature, feature_spread
from fitserve.footprint.prefill import prefill_bytes
from fitserve.footprint.ranks import rank_request_bytes, rank_token_bytes
from fitserve.footprint.weights import Sharding, weight_bytes
from fitserve.foundation.errors import FactMissing, InputError
from fitserve.foundation.intervals import Basis, Interval
from fitserve.models.types import Attention, LanguageModel

_SHAPES = Basis("exact", "shapes of the model")
_ACTIVATIONS = Basis("estimated", "footprint/prefill.py over the warm-up prefill")
_RUNTIME = Basis("estimated", "engines/tgi/facts.toml runtime_bytes")


def element_bytes(kv_format: str) -> float:
    """Bytes of a cache element."""
    return 1.0 if kv_format in feature("kv_formats") else 2.0


def fraction(deployment: Deployment) -> float:
    """`--cuda-memory-fraction`. Raises InputError for a value that is none."""
    text = deployment.options.get("cuda-memory-fraction", "1.0")
    try:
        value = float(text)
    except ValueError as error:
        raise InputError.of("option_wrong", option="--cuda-memory-fraction", value=text) from error
    if not 0 < value <= 1:
        raise InputError.of("option_wrong", option="--cuda-memory-fraction", value=text)
    return value


def _check_kinds(model: LanguageModel) -> None:
    kinds = {type(mixer).__name__ for layer in model.layers for mixer in layer.mixers} - {Attention.__name__}
    if kinds:
        raise FactMissing(f"cache of {', '.join(sorted(kinds))} layers in TGI", "src/fitserve/engines/tgi/memory.py")


def budget(deployment: Deployment) -> MemoryBudget:
    """Memory of every device. Raises FactMissing for layers whose cache TGI's documentation does not tell."""
    deployment = replace(deployment, pp=1, dp=1)
    model, tp = deployment.model, deployment.tp
    _check_kinds(model)
    size = element_bytes(deployment.kv_format)
    weights = weight_bytes(model, deployment.weight_format, Sharding(tp=tp))
    tokens = deployment.context_tokens + feature("prefill_margin_tokens")
    activations = prefill_bytes(model, tokens, tp, logit_rows=2)
    runtime, spread = feature("runtime_bytes"), feature_spread("runtime_bytes")
    smallest = min(d.engine_visible_bytes for d in deployment.machine.devices[: deployment.device_count])
    rank = Rank(
        weights=MemoryItem(code="weights", bytes=Interval.around(weights, 0.02, 0.05), basis=_SHAPES),
        items=(
            MemoryItem(code="activations", bytes=Interval.around(activations, 0.5, 1.0), basis=_ACTIVATIONS),
            MemoryItem(code="runtime", bytes=Interval(runtime - spread, runtime, runtime + spread), basis=_RUNTIME),
        ),
        limit_bytes=int(smallest * fraction(deployment) * feature("memory_share")),
        request_bytes=lambda length: rank_request_bytes(model, length, size, tp, keeps_windows=False),
        token_bytes=rank_token_bytes(model, size, tp),
    )
    slots = max(deployment.max_num_seqs or 0, deployment.concurrent_requests, feature("max_concurrent_requests"))
    kv_format = "f16" if deployment.kv_format == "auto" else deployment.kv_format
    return shared_pool(deployment, (rank,), kv_format, slots)


def cache_bytes(deployment: Deployment, sequences: int, part: str) -> int:
    """Bytes of the cache of some sequences; windows are not dropped."""
    _check_kinds(deployment.model)
    if part == "recurrent state":
        return plain_cache_bytes(deployment, sequences, part)
    size = element_bytes(deployment.kv_format)
    return sequences * rank_request_bytes(deployment.model, deployment.context_tokens, size, keeps_windows=False)
