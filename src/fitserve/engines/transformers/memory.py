"""Transformers' memory: weights where the device map puts them, a cache that grows with each request, activations.

Without continuous batching one request runs at a time and its cache grows to the context. With it, the cache takes a
share of what is left, less what its own tensors need (PagedAttentionMemoryHandler).
"""

from collections.abc import Sequence
from dataclasses import replace

from fitserve.engines.budgets import Rank, fixed_cache, shared_pool
from fitserve.engines.contract import Deployment, MemoryBudget, MemoryItem
from fitserve.engines.releases import at_least
from fitserve.engines.transformers.placement import RAM, Split
from fitserve.engines.transformers.rules import feature, feature_spread
from fitserve.engines.transformers.settings import is_batched, keeps_latent, loaded_format, split_of, used_devices
from fitserve.footprint.full_heads import request_elements, token_elements
from fitserve.footprint.prefill import prefill_bytes
from fitserve.footprint.ranks import rank_state_bytes
from fitserve.foundation.intervals import Basis, Interval
from fitserve.foundation.reasons import Reason, does_not_fit, note, warning
from fitserve.models.types import Attention

_CACHE_BYTES = 2
_LOGIT_BYTES = 4
_SHAPES = Basis("exact", "shapes of the model; placement of integrations/accelerate.py")
_ACTIVATIONS = Basis("estimated", "footprint/prefill.py over the whole prompt")
_PAGED = Basis("estimated", "transformers 5.23.0 PagedAttentionMemoryHandler")
_RUNTIME = Basis("estimated", "engines/transformers/facts.toml runtime_bytes")


def _elements(deployment: Deployment, layers: Sequence[int], tokens: int) -> int:
    windows = at_least(deployment.engine_version, feature("window_cache_from"))
    latent = keeps_latent(deployment.engine_version)
    model = deployment.model
    return sum(request_elements(model, range(i, i + 1), tokens, latent, windows) for i in layers)


def _cache_layers(deployment: Deployment, split: Split, place: int) -> tuple[int, ...]:
    """Layers whose cache lies on a device: an offloaded layer is computed, and so cached, on the first one."""
    return (*split.layers(place), *(split.layers(RAM) if place == 0 else ()))


def _rank(deployment: Deployment, split: Split, place: int, limit: int) -> Rank:
    model = deployment.model
    layers = _cache_layers(deployment, split, place)
    weights = split.bytes_at(place if used_devices(deployment) else RAM)
    latent = keeps_latent(deployment.engine_version)
    items = [_activations(deployment), *_runtime(deployment)]
    if place == 0 and used_devices(deployment) and split.largest_in_ram:
        moved = split.largest_in_ram
        items.append(MemoryItem(code="compute_buffer", bytes=Interval(moved, moved, 2 * moved), basis=_SHAPES))
    return Rank(
        weights=MemoryItem(code="weights", bytes=Interval.around(weights, 0.01, 0.03), basis=_SHAPES),
        items=tuple(items),
        limit_bytes=limit,
        request_bytes=lambda tokens: _elements(deployment, layers, tokens) * _CACHE_BYTES,
        token_bytes=sum(token_elements(model, range(i, i + 1), latent) for i in layers) * _CACHE_BYTES,
        state_bytes=sum(rank_state_bytes(model, 1, range(i, i + 1)) for i in layers),
    )


def _activations(deployment: Deployment) -> MemoryItem:
    """A prompt runs in one piece; growing the cache copies one layer of it (torch.cat in DynamicLayer.update)."""
    model, tokens = deployment.model, deployment.context_tokens
    copied = max(_elements(deployment, (index,), tokens) for index in range(len(model.layers))) * _CACHE_BYTES
    likely = prefill_bytes(model, tokens) + copied
    return MemoryItem(code="activations", bytes=Interval.around(likely, 0.5, 1.0), basis=_ACTIVATIONS)


def _runtime(deployment: Deployment) -> tuple[MemoryItem, ...]:
    likely, spread = feature("runtime_bytes"), feature_spread("runtime_bytes")
    return (MemoryItem(code="runtime", bytes=Interval(likely - spread, likely, likely + spread), basis=_RUNTIME),)


def paged_overhead(deployment: Deployment) -> tuple[int, int]:
    """(fixed bytes, bytes a cached token) of the tensors beside a paged cache, with SDPA attention."""
    model, rule = deployment.model, feature("paged_cache")
    mixers = [m for layer in model.layers for m in layer.mixers if isinstance(m, Attention)]
    heads, kv_heads = max(m.query_heads for m in mixers), max(m.kv_heads for m in mixers)
    width = max(m.key_dim for m in mixers)
    windows = any(m.window_tokens for m in mixers)
    masks = (2 if windows else 1) * rule["io_sets"]
    peak = (2 * heads + kv_heads) * width * _CACHE_BYTES
    batch = _CACHE_BYTES * (model.hidden_size + heads * width + 2 * kv_heads * width) + peak
    rows = rule["logit_rows"] * (model.hidden_size * _CACHE_BYTES + model.vocab_size * _LOGIT_BYTES)
    tokens = rule["batch_tokens"]
    return rows + tokens * batch + masks * _CACHE_BYTES * tokens * tokens, peak + masks * _CACHE_BYTES * tokens


def _paged(deployment: Deployment, split: Split) -> MemoryBudget:
    visible = used_devices(deployment)[0].engine_visible_bytes
    rank = _rank(deployment, split, 0, visible)
    runtime, weights = feature("runtime_bytes"), rank.weights.bytes.likely
    fixed, each = paged_overhead(deployment)
    room = int((visible - weights - runtime) * feature("paged_cache")["memory_percent"])
    beside = each / (each + rank.token_bytes) * max(0, room - fixed)
    extra = MemoryItem(code="activations", bytes=Interval.around(fixed + beside, 0.3, 0.3), basis=_PAGED)
    rank = replace(rank, items=(extra, *_runtime(deployment)), limit_bytes=int(weights + runtime + max(0, room)))
    slots = max(deployment.max_num_seqs or 0, deployment.concurrent_requests)
    return shared_pool(deployment, (rank,), "f16", slots)


def budget(deployment: Deployment) -> MemoryBudget:
    """Memory on every device and in RAM. A tensor parallel wish, which is refused, is judged as a split by layers."""
    deployment = replace(deployment, tp=1, dp=1, pp=deployment.device_count)
    split = split_of(deployment)
    if not used_devices(deployment):
        return _in_ram(deployment, split)
    if is_batched(deployment):
        made = _paged(deployment, split)
    else:
        limits = [device.engine_visible_bytes for device in used_devices(deployment)]
        ranks = [_rank(deployment, split, place, limit) for place, limit in enumerate(limits)]
        made = fixed_cache(deployment, ranks, "f16", 1)
    offloaded = split.bytes_at(RAM)
    host = (_host_weights(offloaded),) if offloaded else ()
    reasons = (*made.reasons, *_host_reasons(deployment, offloaded), *_notes(deployment, split))
    return replace(
        made, host_items=host, weights_bytes=made.weights_bytes + offloaded, reasons=reasons,
        details={"split": split, "layers": {place: split.layers(place) for place in set(split.places)}},
    )  # fmt: skip


def _host_weights(size: int) -> MemoryItem:
    return MemoryItem(code="weights", bytes=Interval.around(size, 0.01, 0.03), basis=_SHAPES)


def _in_ram(deployment: Deployment, split: Split) -> MemoryBudget:
    """A machine without accelerators: everything in RAM."""
    rank = _rank(deployment, split, 0, _ram_limit(deployment) or 1 << 62)
    made = fixed_cache(deployment, (rank,), "f16", 1)
    cache = MemoryItem(
        code="kv_cache", bytes=Interval.exact(rank.sequence_bytes(deployment.context_tokens)), basis=_SHAPES
    )
    host = (rank.weights, *rank.items, cache)
    reasons = _host_reasons(deployment, sum(item.likely_bytes for item in host))
    return replace(made, host_items=host, reasons=(*reasons, *_notes(deployment, split)), details={"split": split})


def _ram_limit(deployment: Deployment) -> int | None:
    ram = deployment.machine.host.ram_bytes
    return None if ram is None else max(0, ram - feature("host_reserve_bytes"))


def _host_reasons(deployment: Deployment, need: int) -> tuple[Reason, ...]:
    limit = _ram_limit(deployment)
    if not need:
        return ()
    if limit is None:
        return (note("ram_unknown", need_bytes=need),)
    return (does_not_fit("ram_overflows", need_bytes=need, have_bytes=limit),) if need > limit else ()


def _notes(deployment: Deployment, split: Split) -> tuple[Reason, ...]:
    found: list[Reason] = []
    devices = used_devices(deployment)
    if len(devices) > 1 and split.bytes_at(RAM):
        found.append(does_not_fit("device_map_spills", layers=len(split.layers(RAM)), bytes=split.bytes_at(RAM)))
    elif len(devices) > 1 or deployment.offload_layers:
        found.append(note("device_map_split", split=split_text(split)))
    if loaded_format(deployment).name != deployment.weight_format.name:
        found.append(warning("hf_weights_dequantized", format=deployment.weight_format.name, engine="transformers"))
    asked = deployment.concurrent_requests
    if asked > 1 and not is_batched(deployment):
        found.append(warning("hf_one_at_a_time", asked=asked))
    return tuple(found)


def split_text(split: Split) -> tuple[str, ...]:
    """`GPU 0: layers 0-17`, by place, RAM last."""
    parts = []
    for place in [*sorted(set(split.places) - {RAM}), *([RAM] if RAM in split.places else [])]:
        layers = split.layers(place)
        name = "RAM" if place == RAM else f"GPU {place}"
        parts.append(f"{name}: {layers[0]}-{layers[-1]}" if layers else f"{name}: -")
    return tuple(parts)


def cache_bytes(deployment: Deployment, sequences: int, part: str) -> int:
    """Bytes of the cache of some sequences; `part` says cache, recurrent state, or both."""
    model = deployment.model
    layers = range(len(model.layers))
    cache = 0 if part == "recurrent state" else _elements(deployment, layers, deployment.context_tokens) * _CACHE_BYTES
    return (cache + (rank_state_bytes(model) if "state" in part else 0)) * sequences
