"""Pieces that many families share: grouped-query attention, latent attention, expert blocks, window patterns."""

from dataclasses import dataclass, replace
from typing import Any

from fitserve.models.architectures.config import Config
from fitserve.models.types import Attention, DenseMlp, Experts, Indexer, LatentAttention

_SLIDING = {"sliding_attention", "sliding", "local", "local_attention", "swa"}
_CHUNKED = {"chunked_attention", "chunked"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """How far a layer's attention reaches; both None is full attention."""

    window: int | None = None
    chunk: int | None = None


def attention(config: Config, **changes: Any) -> Attention:
    """The config's grouped-query attention; `changes` are fields that the family sets."""
    heads = config.size("num_attention_heads", "n_head", "n_heads")
    dim = config.optional("head_dim", "attention_head_dim") or config.size("hidden_size", "n_embd", "d_model") // heads
    base = Attention(
        query_heads=heads,
        kv_heads=config.size(
            "num_key_value_heads", "num_kv_heads", "num_attention_groups", "multi_query_group_num", default=heads
        ),
        key_dim=dim,
        value_dim=config.optional("v_head_dim") or dim,
    )
    return replace(base, **changes)


def spans(config: Config, period: int | None = None, window_by_default: bool = False) -> list[Span]:
    """Reach of each layer.

    `layer_types` decides when present; else every `period`-th layer is full (`sliding_window_pattern` of the config
    or the family's own); else all layers slide when `window_by_default` and the config names a window.
    """
    window = config.optional("sliding_window", "sliding_window_size")
    chunk = config.optional("attention_chunk_size")
    types = config.layer_types
    if types is not None:
        return [
            Span(window=window) if kind in _SLIDING and window else Span(chunk=chunk) if kind in _CHUNKED else Span()
            for kind in types
        ]
    count = config.layer_count
    if window is None or config.raw("use_sliding_window") is False:
        return [Span()] * count
    step = _period(config, period)
    if step is not None:
        return [Span() if (index + 1) % step == 0 else Span(window=window) for index in range(count)]
    return [Span(window=window) if window_by_default else Span()] * count


def _period(config: Config, default: int | None) -> int | None:
    pattern = config.raw("sliding_window_pattern", "_sliding_window_pattern")
    if isinstance(pattern, int) and pattern > 0:
        return pattern
    if isinstance(pattern, str) and pattern:
        return len(pattern)  # EXAONE writes LLLG
    return default


def dense(config: Config, **changes: Any) -> DenseMlp:
    """The config's feed-forward block."""
    return replace(DenseMlp(width=config.size("intermediate_size", "ffn_hidden_size", "n_inner")), **changes)


def experts(config: Config, **changes: Any) -> Experts:
    """The config's expert block; field names differ per family, the numbers do not."""
    width = config.size("moe_intermediate_size", "expert_ffn_hidden_size", "intermediate_size")
    shared_count = config.count("n_shared_experts", "num_shared_experts", "num_shared_expert", "moe_num_shared_experts")
    shared = config.count(
        "shared_expert_intermediate_size",
        "shared_intermediate_size",
        "moe_shared_expert_intermediate_size",
        "share_expert_dim",
    )
    base = Experts(
        count=config.size("num_local_experts", "n_routed_experts", "num_experts", "moe_num_experts"),
        used=config.size(
            "num_experts_per_tok", "num_experts_per_token", "moe_k", "moe_topk", "top_k_experts", "moe_top_k"
        ),
        width=width,
        shared_width=shared or shared_count * width,
    )
    return replace(base, **changes)


def expert_layers(config: Config) -> list[bool]:
    """Which layers hold experts: dense-first layers, a step with an offset, or an explicit list."""
    count = config.layer_count
    pattern = config.raw("moe_layer_freq")
    if isinstance(pattern, list):
        return [bool(item) for item in pattern[:count]]
    first = config.count("first_k_dense_replace", "num_dense_layers", "moe_layer_start_index")
    step = config.size("decoder_sparse_step", "moe_layer_freq", "moe_layer_interval", default=1)
    only_dense = set(config.numbers("mlp_only_layers") or [])
    return [index >= first and (index + 1) % step == 0 and index not in only_dense for index in range(count)]


def latent(config: Config, **changes: Any) -> LatentAttention:
    """The config's multi-head latent attention, with its sparse indexer when it has one."""
    index_heads = config.optional("index_n_heads")
    base = LatentAttention(
        query_heads=config.size("num_attention_heads"),
        q_lora_rank=config.optional("q_lora_rank"),
        kv_lora_rank=config.size("kv_lora_rank"),
        nope_dim=config.size("qk_nope_head_dim"),
        rope_dim=config.size("qk_rope_head_dim"),
        value_dim=config.size("v_head_dim"),
        indexer=None
        if index_heads is None
        else Indexer(heads=index_heads, head_dim=config.size("index_head_dim"), top_k=config.size("index_topk")),
    )
    return replace(base, **changes)
