"""Families that mix attention with states of fixed size: Qwen3-Next, Qwen3.5, Jamba, Nemotron-H, Granite-H, LFM2, Kimi Linear."""

from dataclasses import replace

from fitserve.models.architectures.blueprint import Blueprint, Extra
from fitserve.models.architectures.config import Config
from fitserve.models.architectures.parts import attention, dense, expert_layers, experts, latent
from fitserve.models.types import LatentAttention, Layer, LinearAttention, Mixer, ShortConvolution, StateSpace


def _pattern(config: Config, full_name: str = "full_attention") -> list[bool]:
    """True where a layer has attention."""
    types = config.layer_types
    if types is not None:
        return [kind in (full_name, "attention") for kind in types]
    step = config.size("full_attention_interval", default=4)
    return [(index + 1) % step == 0 for index in range(config.layer_count)]


def _gated_delta(config: Config, gguf: str, moe: bool, recurrent_dtype: str | None = None) -> Blueprint:
    full = attention(config, qk_norm="head", gate="fused")
    linear = LinearAttention(
        kind="gated_delta",
        key_heads=config.size("linear_num_key_heads"),
        value_heads=config.size("linear_num_value_heads"),
        key_dim=config.size("linear_key_head_dim"),
        value_dim=config.size("linear_value_head_dim"),
        conv_kernel=config.size("linear_conv_kernel_dim", default=4),
    )
    block = experts(config, shared_gate=True) if moe else None
    is_moe = expert_layers(config) if moe else [False] * config.layer_count
    layers = tuple(
        Layer(
            mixers=(full if attends else linear,), dense=None if has else dense(config), experts=block if has else None
        )
        for attends, has in zip(_pattern(config), is_moe, strict=True)
    )
    return Blueprint(layers=layers, gguf=gguf, norms=("attn_norm", "attn_post_norm"), recurrent_dtype=recurrent_dtype)


def qwen3_next(config: Config) -> Blueprint:
    """Qwen3-Next: three gated-delta layers to one of attention."""
    return _gated_delta(config, "qwen3next", moe=True)


def qwen35(config: Config) -> Blueprint:
    """Qwen3.5 and 3.6 dense."""
    return _gated_delta(config, "qwen35", moe=False, recurrent_dtype="f32")


def qwen35_moe(config: Config) -> Blueprint:
    """Qwen3.5 and later with experts."""
    return _gated_delta(config, "qwen35moe", moe=True, recurrent_dtype="f32")


def kimi_linear(config: Config) -> Blueprint:
    """Kimi Linear: KDA layers between layers of latent attention (numbered from 1 in the config)."""
    linear_config = config.part("linear_attn_config")
    full = set(linear_config.numbers("full_attn_layers") or [])
    heads = linear_config.size("num_heads", default=config.size("num_attention_heads"))
    dim = linear_config.size("head_dim", default=128)
    linear = LinearAttention(
        kind="kda",
        key_heads=heads,
        value_heads=heads,
        key_dim=dim,
        value_dim=dim,
        conv_kernel=linear_config.size("short_conv_kernel_size", default=4),
    )
    is_moe = expert_layers(config)
    layers = tuple(
        Layer(
            mixers=(latent(config) if index + 1 in full else linear,),
            dense=None if moe else dense(config),
            experts=experts(config, router_bias=True) if moe else None,
        )
        for index, moe in enumerate(is_moe)
    )
    return Blueprint(layers=layers, gguf="kimi-linear")


def kimi_k3(config: Config) -> Blueprint:
    """Kimi K3: Kimi Linear with full-rank gates, experts in a latent width, and learned residual scores."""
    base = kimi_linear(config)
    width = config.optional("routed_expert_hidden_size")
    layers = tuple(
        replace(
            layer,
            mixers=tuple(
                replace(m, full_rank_gate=True)
                if isinstance(m, LinearAttention)
                else replace(m, gate=True)
                if isinstance(m, LatentAttention)
                else m
                for m in layer.mixers
            ),
            experts=replace(layer.experts, latent_width=width) if layer.experts else None,
        )
        for layer in base.layers
    )
    norms = (*base.norms, "attn_res_score", "ffn_res_score")
    latent_norm: tuple[Extra, ...] = tuple(
        (index, "ffn_routed_norm.weight", (width,)) for index, layer in enumerate(layers) if layer.experts and width
    )
    score: Extra = (None, "output_res_score.weight", (config.size("hidden_size"),))
    return replace(base, layers=layers, gguf="kimi-k3", norms=norms, extra=(*latent_norm, score))


def minimax_text(config: Config) -> Blueprint:
    """MiniMax-Text-01 and M1: seven lightning layers to one of attention."""
    kinds = config.numbers("attn_type_list") or [0] * config.layer_count
    full = attention(config)
    linear = LinearAttention(
        kind="lightning",
        key_heads=full.query_heads,
        value_heads=full.query_heads,
        key_dim=full.key_dim,
        value_dim=full.key_dim,
        conv_kernel=1,
    )
    layers = tuple(Layer(mixers=(full if kind else linear,), experts=experts(config)) for kind in kinds)
    return Blueprint(layers=layers, gguf="minimax-01")


def jamba(config: Config) -> Blueprint:
    """Jamba: Mamba-1 with inner norms, one attention layer in eight, experts in every second layer."""
    hidden = config.size("hidden_size")
    state = StateSpace(
        generation=1,
        inner=config.size("mamba_expand", default=2) * hidden,
        state=config.size("mamba_d_state", default=16),
        conv_kernel=config.size("mamba_d_conv", default=4),
        dt_rank=config.size("mamba_dt_rank", default=-(-hidden // 16)),
        inner_norms=True,
    )
    attn_step, attn_at = config.size("attn_layer_period", default=8), config.count("attn_layer_offset", default=4)
    moe_step, moe_at = config.size("expert_layer_period", default=2), config.count("expert_layer_offset", default=1)
    layers = []
    for index in range(config.layer_count):
        has = config.count("num_experts", default=16) > 1 and (index - moe_at) % moe_step == 0
        mixer: Mixer = attention(config) if (index - attn_at) % attn_step == 0 else state
        layers.append(
            Layer(mixers=(mixer,), dense=None if has else dense(config), experts=experts(config) if has else None)
        )
    return Blueprint(layers=tuple(layers), gguf="jamba")


def _mamba2(config: Config, inner: int) -> StateSpace:
    heads = config.size("mamba_num_heads", "mamba_n_heads", "num_heads")
    return StateSpace(
        generation=2,
        inner=inner,
        state=config.size("ssm_state_size", "mamba_d_state", "state_size"),
        conv_kernel=config.size("conv_kernel", "mamba_d_conv", default=4),
        groups=config.size("n_groups", "mamba_n_groups", default=1),
        heads=heads,
    )


def nemotron_h(config: Config) -> Blueprint:
    """Nemotron-H: each layer is one block: Mamba-2 (M), attention (*), a feed-forward block (-) or experts (E)."""
    inner = config.size("mamba_num_heads") * config.size("mamba_head_dim")
    state = _mamba2(config, inner)
    letters = {"mamba": "M", "attention": "*", "mlp": "-", "moe": "E"}
    named = config.raw("layers_block_type")
    pattern = (
        "".join(letters.get(str(n), "?") for n in named)
        if isinstance(named, list)
        else config.text("hybrid_override_pattern")
    )
    kinds = {
        "M": lambda: Layer(mixers=(state,)),
        "*": lambda: Layer(mixers=(attention(config),)),
        "-": lambda: Layer(mixers=(), dense=dense(config, gated=False)),
        "E": lambda: Layer(
            mixers=(),
            experts=experts(config, gated=False, router_bias=True, latent_width=config.optional("moe_latent_size")),
        ),
    }
    layers = tuple(kinds[letter]() for letter in pattern if letter in kinds)
    gguf = "nemotron_h_moe" if "E" in pattern else "nemotron_h"
    # vLLM keeps Nemotron-H states in float32 unless told otherwise (vllm/model_executor/models/config.py, 0.32.0)
    return Blueprint(layers=layers, gguf=gguf, norms=("attn_norm",), recurrent_dtype="f32")


def granite_hybrid(config: Config) -> Blueprint:
    """Granite 4: Mamba-2 or attention, then a shared feed-forward block beside experts, or alone."""
    types = config.layer_types or ["attention"] * config.layer_count
    has_experts = config.count("num_local_experts") > 0
    shared = config.size("shared_intermediate_size", "intermediate_size")
    state = None
    if "mamba" in types:
        expand = config.size("mamba_expand", default=2)
        state = _mamba2(config, expand * config.size("hidden_size"))
    block = experts(config, width=config.size("intermediate_size"), shared_width=shared) if has_experts else None
    feed_forward = None if has_experts else dense(config, width=shared)
    mixers: dict[str, Mixer | None] = {"mamba": state, "attention": attention(config)}
    layers = tuple(
        Layer(mixers=tuple(m for m in (mixers[kind],) if m is not None), dense=feed_forward, experts=block)
        for kind in types
    )
    return Blueprint(layers=layers, gguf="granitehybrid", tied_default=True)


def lfm2(config: Config) -> Blueprint:
    """LFM2: short convolutions between attention layers; with experts in LFM2-MoE."""
    conv = ShortConvolution(kernel=config.size("conv_L_cache", default=3), channels=config.size("hidden_size"))
    is_moe = expert_layers(config) if config.has("num_experts") else [False] * config.layer_count
    width = config.size("intermediate_size", "block_ff_dim")
    if config.flag("block_auto_adjust_ff_dim"):
        multiple = config.size("block_multiple_of", default=256)
        width = -(-int(2 * width / 3) // multiple) * multiple
    full = attention(config, qk_norm="head")
    layers = tuple(
        Layer(
            mixers=(full if attends else conv,),
            dense=None if moe else dense(config, width=width),
            experts=experts(config, router_bias=True) if moe else None,
        )
        for attends, moe in zip(_pattern(config), is_moe, strict=True)
    )
    return Blueprint(layers=layers, gguf="lfm2moe" if any(is_moe) else "lfm2", tied_default=True)


def falcon_h1(config: Config) -> Blueprint:
    """Falcon-H1: attention and Mamba-2 side by side in every layer."""
    inner = config.size("mamba_d_ssm", default=config.size("mamba_expand", default=2) * config.size("hidden_size"))
    state = StateSpace(
        generation=2,
        inner=inner,
        state=config.size("mamba_d_state"),
        conv_kernel=config.size("mamba_d_conv", default=4),
        groups=config.size("mamba_n_groups", default=1),
        heads=config.size("mamba_n_heads"),
        gated_norm=config.flag("mamba_rms_norm"),
    )
    layer = Layer(mixers=(attention(config), state), dense=dense(config))
    return Blueprint(layers=(layer,) * config.layer_count, gguf="falcon-h1")


def mamba(config: Config) -> Blueprint:
    """Mamba-1 language models."""
    hidden = config.size("hidden_size", "d_model")
    rank = config.raw("time_step_rank")
    state = StateSpace(
        generation=1,
        inner=config.size("intermediate_size", default=config.size("expand", default=2) * hidden),
        state=config.size("state_size", default=16),
        conv_kernel=config.size("conv_kernel", default=4),
        dt_rank=rank if isinstance(rank, int) else -(-hidden // 16),
    )
    return Blueprint(
        layers=(Layer(mixers=(state,)),) * config.layer_count, gguf="mamba", norms=("attn_norm",), tied_default=True
    )


def mamba2(config: Config) -> Blueprint:
    """Mamba-2 language models."""
    inner = config.size("expand", default=2) * config.size("hidden_size")
    layer = Layer(mixers=(_mamba2(config, inner),))
    return Blueprint(layers=(layer,) * config.layer_count, gguf="mamba2", norms=("attn_norm",))
