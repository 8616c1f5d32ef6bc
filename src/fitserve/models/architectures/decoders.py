"""Plain decoders: grouped-query attention with a dense or expert feed-forward block.

`decoder` is the common shape; each family below states only where it differs. Sources: the model classes of
transformers 5.20.0 and llama.cpp v0.5.0 src/models.
"""

from dataclasses import replace
from typing import Any

from fitserve.models.architectures.blueprint import Blueprint
from fitserve.models.architectures.config import Config
from fitserve.models.architectures.parts import attention, dense, expert_layers, experts, spans
from fitserve.models.types import Attention, Layer

FOUR_NORMS = ("attn_norm", "attn_post_norm", "ffn_norm", "ffn_post_norm")
POST_NORMS = ("attn_post_norm", "ffn_post_norm")


def decoder(
    config: Config,
    gguf: str | None,
    *,
    moe: bool = False,
    period: int | None = None,
    window_by_default: bool = False,
    attn: dict[str, Any] | None = None,
    mlp: dict[str, Any] | None = None,
    expert: dict[str, Any] | None = None,
    **blueprint: Any,
) -> Blueprint:
    """A decoder; `attn`, `mlp` and `expert` change the common parts, `blueprint` the whole."""
    base = attention(config, **(attn or {}))
    feed_forward = (
        None if moe and not config.has("intermediate_size", "ffn_hidden_size") else dense(config, **(mlp or {}))
    )
    block = experts(config, **(expert or {})) if moe else None
    is_moe = expert_layers(config) if moe else [False] * config.layer_count
    layers = tuple(
        Layer(
            mixers=(replace(base, window_tokens=span.window, chunk_tokens=span.chunk),),
            dense=None if has_experts else feed_forward,
            experts=block if has_experts else None,
        )
        for span, has_experts in zip(spans(config, period, window_by_default), is_moe, strict=True)
    )
    return Blueprint(layers=layers, gguf=gguf, **blueprint)


def llama(config: Config) -> Blueprint:
    """Llama 1-3 and the many models that copy its layout; GGUF calls Mistral `llama` too."""
    bias = config.flag("attention_bias", "qkv_bias")
    return decoder(
        config,
        "llama",
        window_by_default=config.text("model_type") == "mistral",
        attn={"qkv_bias": bias, "output_bias": bias and not config.has("qkv_bias")},
        mlp={"bias": config.flag("mlp_bias")},
        extra=rope_factors(config),
    )


def rope_factors(config: Config) -> tuple[tuple[None, str, tuple[int, ...]], ...]:
    """GGUF files of Llama 3.1 and later carry one factor per rotary pair (rope type llama3)."""
    rope = config.raw("rope_scaling", "rope_parameters")
    scaled = isinstance(rope, dict) and str(rope.get("rope_type") or rope.get("type")) == "llama3"
    return ((None, "gguf:rope_freqs.weight", (attention(config).key_dim // 2,)),) if scaled else ()


def mistral3(config: Config) -> Blueprint:
    """Mistral Small 3.x with its vision tower, and Ministral 3."""
    return decoder(config, "llama" if config.text("model_type") == "mistral" else "mistral3")


def mixtral(config: Config) -> Blueprint:
    """Mixtral: eight experts in every layer; GGUF keeps it under `llama`."""
    return decoder(config, "llama", moe=True)


def mllama(config: Config) -> Blueprint:
    """Llama 3.2 Vision: some layers attend to image features instead of text."""
    crossing = set(config.numbers("cross_attention_layers") or [])
    base = decoder(config, None)
    layers = tuple(
        replace(layer, mixers=(attention(config, crosses_to_vision=True, qk_norm="head"),))
        if index in crossing
        else layer
        for index, layer in enumerate(base.layers)
    )
    gates = tuple((index, role, (1,)) for index in sorted(crossing) for role in ("attn_gate_scalar", "ffn_gate_scalar"))
    extra_rows = ((None, "token_embd_extra.weight", (config.size("hidden_size"), 8)),)
    return replace(base, layers=layers, extra=gates + extra_rows)


def qwen2(config: Config) -> Blueprint:
    """Qwen2 and Qwen2.5: biases on q, k and v."""
    gguf = "qwen2vl" if config.outer.get("vision_config") else "qwen2"
    return decoder(config, gguf, attn={"qkv_bias": True})


def qwen2_moe(config: Config) -> Blueprint:
    """Qwen1.5-MoE and Qwen2-MoE: a gated shared expert."""
    return decoder(config, "qwen2moe", moe=True, attn={"qkv_bias": True}, expert={"shared_gate": True})


def qwen3(config: Config) -> Blueprint:
    """Qwen3 and Qwen3-VL: norms on each query and key head."""
    gguf = "qwen3vl" if config.outer.get("vision_config") else "qwen3"
    return decoder(config, gguf, attn={"qk_norm": "head", "qkv_bias": config.flag("attention_bias")})


def qwen3_moe(config: Config) -> Blueprint:
    """Qwen3 MoE and Qwen3-VL MoE."""
    gguf = "qwen3vlmoe" if config.outer.get("vision_config") else "qwen3moe"
    return decoder(config, gguf, moe=True, attn={"qk_norm": "head"})


def mimo(config: Config) -> Blueprint:
    """MiMo-7B: the layout of Qwen2."""
    return decoder(config, None, attn={"qkv_bias": True})


def seed_oss(config: Config) -> Blueprint:
    """Seed-OSS: biases on q, k and v when attention_bias says so."""
    return decoder(config, "seed_oss", attn={"qkv_bias": config.flag("attention_bias", default=True)})


def phi(config: Config) -> Blueprint:
    """Phi-2: one biased norm a layer, two matrices in the feed-forward block, biases everywhere."""
    return decoder(
        config,
        "phi2",
        attn={"qkv_bias": True, "output_bias": True},
        mlp={"gated": False, "bias": True},
        norms=("attn_norm",),
        norm_bias=True,
        head_bias=True,
    )


def phi3(config: Config) -> Blueprint:
    """Phi-3 and Phi-4: fused projections; the config's window holds for all layers."""
    extra = _long_rope(config)
    return decoder(
        config, "phi3", window_by_default=True, attn={"fused_qkv": True}, mlp={"fused_gate_up": True}, extra=extra
    )


def _long_rope(config: Config) -> tuple[tuple[None, str, tuple[int, ...]], ...]:
    rope = config.raw("rope_scaling", "rope_parameters")
    if not isinstance(rope, dict) or "long_factor" not in rope:
        return ()
    pairs = len(rope["long_factor"])
    return ((None, "gguf:rope_factors_long.weight", (pairs,)), (None, "gguf:rope_factors_short.weight", (pairs,)))


def phi_moe(config: Config) -> Blueprint:
    """Phi-3.5-MoE."""
    return decoder(
        config, "phimoe", moe=True, attn={"qkv_bias": True, "output_bias": True}, norm_bias=True, head_bias=True
    )


def gpt_oss(config: Config) -> Blueprint:
    """gpt-oss: every second layer slides, biases in attention, router and experts, attention sinks."""
    return decoder(
        config,
        "gpt-oss",
        moe=True,
        period=2,
        attn={"qkv_bias": True, "output_bias": True, "sinks": True},
        expert={"router_bias": True, "expert_bias": True},
        norms=("attn_norm", "attn_post_norm"),
    )


def glm(config: Config) -> Blueprint:
    """GLM-4-9B-chat: biases on q, k and v; GGUF stores q, k, v fused and gate with up."""
    return decoder(
        config,
        "chatglm",
        attn={"qkv_bias": config.flag("attention_bias", default=True), "fused_qkv": True},
        mlp={"fused_gate_up": True},
    )


def glm4(config: Config) -> Blueprint:
    """GLM-4-0414 and GLM-Z1: four norms a layer."""
    return decoder(
        config, "glm4", attn={"qkv_bias": config.flag("attention_bias")}, mlp={"fused_gate_up": True}, norms=FOUR_NORMS
    )


def glm4_moe(config: Config) -> Blueprint:
    """GLM-4.5 to 4.7: norms on query and key heads in the large models only."""
    return decoder(
        config,
        "glm4moe",
        moe=True,
        attn={"qkv_bias": config.flag("attention_bias"), "qk_norm": "head" if config.flag("use_qk_norm") else "none"},
        expert={"router_bias": True},
        norms=("attn_norm", "attn_post_norm"),
    )


def solar_open(config: Config) -> Blueprint:
    """Solar Open 100B: the layout of GLM-4.5."""
    return decoder(config, "glm4moe", moe=True, expert={"router_bias": True}, norms=("attn_norm", "attn_post_norm"))


def solar(config: Config) -> Blueprint:
    """Solar Pro preview: a deep Llama."""
    return decoder(config, None, window_by_default=True)


def minimax_m2(config: Config) -> Blueprint:
    """MiniMax-M2: norms over the whole query and key."""
    return decoder(config, "minimax-m2", moe=True, attn={"qk_norm": "full"}, expert={"router_bias": True})


def minimax_m3(config: Config) -> Blueprint:
    """MiniMax-M3: dense first layers, a shared expert, a block indexer for sparse attention in all layers but those."""
    sparse = config.part("sparse_attention_config")
    flags = sparse.numbers("sparse_attention_freq") or [0] * config.layer_count
    heads, dim, hidden = (
        sparse.count("sparse_num_index_heads"),
        sparse.count("sparse_index_dim"),
        config.size("hidden_size"),
    )
    extra = tuple(
        (index, f"indexer.{role}.weight", shape)
        for index, flag in enumerate(flags)
        if flag
        for role, shape in (
            ("q_proj", (hidden, heads * dim)),
            ("k_proj", (hidden, dim)),
            ("q_norm", (dim,)),
            ("k_norm", (dim,)),
        )
    )
    made = decoder(
        config,
        "minimax-m3",
        moe=True,
        attn={"qk_norm": "head"},
        mlp={"width": config.size("dense_intermediate_size", "intermediate_size")},
        expert={"router_bias": True},
        extra=extra,
    )
    layers = tuple(_indexed(layer, dim) if flag else layer for layer, flag in zip(made.layers, flags, strict=True))
    return replace(made, layers=layers)


def _indexed(layer: Layer, dim: int) -> Layer:
    """A layer whose attention keeps an index key beside its cache."""
    return replace(
        layer, mixers=tuple(replace(m, index_dim=dim) if isinstance(m, Attention) else m for m in layer.mixers)
    )


def exaone(config: Config) -> Blueprint:
    """EXAONE 3.x: the layout of Llama."""
    return decoder(config, "exaone", tied_default=True, extra=rope_factors(config))


def exaone4(config: Config) -> Blueprint:
    """EXAONE 4: norms after the blocks; three of four layers slide in the 32B model."""
    return decoder(config, "exaone4", period=4, attn={"qk_norm": "head"}, norms=POST_NORMS, extra=rope_factors(config))


def exaone_moe(config: Config) -> Blueprint:
    """K-EXAONE."""
    return decoder(config, "exaone-moe", moe=True, period=4, attn={"qk_norm": "head"}, expert={"router_bias": True})


def hyperclovax(config: Config) -> Blueprint:
    """HyperCLOVA X SEED: `use_post_norm` adds a norm after each block."""
    norms = FOUR_NORMS if config.flag("use_post_norm") else ("attn_norm", "ffn_norm")
    return decoder(config, None, norms=norms)


def command_r(config: Config) -> Blueprint:
    """Command R and R+: one norm a layer, tied embeddings, norms on heads in R+."""
    return decoder(
        config,
        "command-r",
        attn={"qk_norm": "full" if config.flag("use_qk_norm") else "none"},
        norms=("attn_norm",),
        tied_default=True,
    )


def cohere2(config: Config) -> Blueprint:
    """Command R7B and Command A: three of four layers slide."""
    return decoder(config, "cohere2", period=4, norms=("attn_norm",), tied_default=True)


def granite(config: Config) -> Blueprint:
    """Granite 3 dense: the layout of Llama."""
    return decoder(
        config, "granite", attn={"qkv_bias": config.flag("attention_bias")}, mlp={"bias": config.flag("mlp_bias")}
    )
