"""Families whose layers differ from each other: Gemma, Llama 4, MiMo-V2, Step, Laguna, Muse."""

from dataclasses import replace

from fitserve.models.architectures.blueprint import Blueprint, Extra
from fitserve.models.architectures.config import Config
from fitserve.models.architectures.decoders import FOUR_NORMS, decoder
from fitserve.models.architectures.parts import Span, attention, dense, expert_layers, experts, spans
from fitserve.models.types import Layer


def gemma(config: Config) -> Blueprint:
    """Gemma 1."""
    return decoder(config, "gemma", tied_default=True)


def gemma2(config: Config) -> Blueprint:
    """Gemma 2: every second layer slides; four norms."""
    return decoder(config, "gemma2", period=2, norms=FOUR_NORMS, tied_default=True)


def gemma3(config: Config) -> Blueprint:
    """Gemma 3: five of six layers slide; GGUF drops the 64 padding rows of the embedding (262,144 rows)."""
    rows = 262144 if config.size("vocab_size") == 262208 else None
    return decoder(
        config, "gemma3", period=6, attn={"qk_norm": "head"}, norms=FOUR_NORMS, tied_default=True, gguf_vocab_rows=rows
    )


def gemma3n(config: Config) -> Blueprint:
    """Gemma 3n: AltUp, LAuReL, per-layer embeddings; the last layers read the cache of earlier ones."""
    layers_count, hidden = config.layer_count, config.size("hidden_size")
    altup, rank = config.size("altup_num_inputs"), config.size("laurel_rank")
    widths = config.numbers("intermediate_size") if isinstance(config.raw("intermediate_size"), list) else None
    first_shared = layers_count - config.count("num_kv_shared_layers")
    layers = tuple(
        Layer(
            mixers=(attention(config, qk_norm="head", window_tokens=span.window, shares_kv=index >= first_shared),),
            dense=dense(config)
            if widths is None
            else dense(Config({"intermediate_size": widths[index]}, config.where)),
        )
        for index, span in enumerate(spans(config, period=5))
    )
    per_layer = _per_layer_embedding(config) + _altup(config, hidden, altup, rank)
    return Blueprint(
        layers=layers,
        gguf="gemma3n",
        norms=FOUR_NORMS,
        tied_default=True,
        extra=per_layer,
        gguf_vocab_rows=262144 if config.size("vocab_size") == 262400 else None,
    )


def _altup(config: Config, hidden: int, altup: int, rank: int) -> tuple[Extra, ...]:
    extra: list[Extra] = [
        (None, "altup_proj.weight", (hidden, hidden, altup - 1)),
        (None, "altup_unembd_proj.weight", (hidden, hidden, altup - 1)),
    ]
    for index in range(config.layer_count):
        extra += [
            (index, "altup_correct_coef.weight", (altup, altup)),
            (index, "altup_correct_scale.weight", (hidden,)),
            (index, "altup_predict_coef.weight", (altup, altup * altup)),
            (index, "altup_router.weight", (hidden, altup)),
            (index, "altup_router_norm.weight", (hidden,)),
            (index, "laurel_l.weight", (hidden, rank)),
            (index, "laurel_r.weight", (rank, hidden)),
            (index, "laurel_post_norm.weight", (hidden,)),
        ]
    return tuple(extra)


def _per_layer_embedding(config: Config) -> tuple[Extra, ...]:
    width = config.count("hidden_size_per_layer_input")
    if not width:
        return ()
    hidden, count = config.size("hidden_size"), config.layer_count
    rows = config.size("vocab_size_per_layer_input", "vocab_size")
    extra: list[Extra] = [
        (None, "per_layer_token_embd.weight", (width * count, rows)),
        (None, "per_layer_model_proj.weight", (hidden, width * count)),
        (None, "per_layer_proj_norm.weight", (width,)),
    ]
    for index in range(count):
        extra += [
            (index, "inp_gate.weight", (hidden, width)),
            (index, "proj.weight", (width, hidden)),
            (index, "post_norm.weight", (hidden,)),
        ]
    return tuple(extra)


def gemma4(config: Config) -> Blueprint:
    """Gemma 4: wide heads in full layers, whose value may be the key; E models share caches; 26B-A4B adds experts."""
    window = config.optional("sliding_window")
    first_shared = config.layer_count - config.count("num_kv_shared_layers")
    full_kv = config.optional("num_global_key_value_heads") if config.flag("attention_k_eq_v") else None
    layers = tuple(
        _gemma4_layer(config, span, index >= first_shared, full_kv, window)
        for index, span in enumerate(spans(config, 6))
    )
    extra = _per_layer_embedding(config) + tuple(
        (i, "gguf:layer_output_scale.weight", (1,)) for i in range(config.layer_count)
    )
    extra += ((None, "gguf:rope_freqs.weight", (config.size("global_head_dim", "head_dim") // 2,)),)
    norms: tuple[str, ...] = FOUR_NORMS
    if config.flag("enable_moe_block"):
        norms += ("ffn_norm_1", "ffn_norm_2", "ffn_post_norm_2")
        hidden, count = config.size("hidden_size"), config.size("num_experts")
        for index in range(config.layer_count):
            extra += ((index, "ffn_gate_inp.scale", (hidden,)), (index, "ffn_down_exps.scale", (count,)))
    return Blueprint(layers=layers, gguf="gemma4", norms=norms, tied_default=True, extra=extra)


def _gemma4_layer(config: Config, span: Span, shares: bool, full_kv: int | None, window: int | None) -> Layer:
    full = span.window is None
    dim = config.size("global_head_dim", "head_dim") if full else config.size("head_dim")
    kv = full_kv if full and full_kv else config.size("num_key_value_heads")
    mixer = attention(
        config,
        key_dim=dim,
        value_dim=dim,
        kv_heads=kv,
        window_tokens=span.window,
        qk_norm="head",
        value_is_key=full and config.flag("attention_k_eq_v"),
        shares_kv=shares,
    )
    width = config.size("intermediate_size") * (2 if shares and config.flag("use_double_wide_mlp") else 1)
    block = experts(config, fused_gate_up=True, shared_width=0) if config.flag("enable_moe_block") else None
    return Layer(mixers=(mixer,), dense=dense(Config({"intermediate_size": width}, config.where)), experts=block)


def llama4(config: Config) -> Blueprint:
    """Llama 4: three of four layers see their own chunk only; experts with one shared, dense layers between (Maverick)."""
    step = config.size("interleave_moe_layer_step", default=1)
    reach = _llama4_spans(config)
    block = experts(config, shared_width=config.size("intermediate_size"))
    feed_forward = dense(config, width=config.size("intermediate_size_mlp"))
    mixer = attention(config, qkv_bias=config.flag("attention_bias"))
    layers = tuple(
        Layer(
            mixers=(replace(mixer, chunk_tokens=span.chunk),),
            dense=None if (index + 1) % step == 0 else feed_forward,
            experts=block if (index + 1) % step == 0 else None,
        )
        for index, span in enumerate(reach)
    )
    dim = mixer.key_dim
    return Blueprint(layers=layers, gguf="llama4", extra=((None, "gguf:rope_freqs.weight", (dim // 2,)),))


def _llama4_spans(config: Config) -> list[Span]:
    if config.layer_types is not None:
        return spans(config)
    rotary = config.numbers("no_rope_layers")
    flags = rotary if rotary else [int((index + 1) % 4 != 0) for index in range(config.layer_count)]
    chunk = config.optional("attention_chunk_size")
    return [Span(chunk=chunk) if flag else Span() for flag in flags]


def mimo_v2(config: Config) -> Blueprint:
    """MiMo-V2-Flash: sliding layers have their own head counts and sinks; values are narrower than keys."""
    pattern = config.numbers("hybrid_layer_pattern") or [0] * config.layer_count
    full = attention(config)
    sliding = attention(
        config,
        query_heads=config.size("swa_num_attention_heads", "num_attention_heads"),
        kv_heads=config.size("swa_num_key_value_heads", "num_key_value_heads"),
        key_dim=config.size("swa_head_dim", "head_dim"),
        value_dim=config.size("swa_v_head_dim", "v_head_dim", "head_dim"),
        window_tokens=config.size("sliding_window", "sliding_window_size"),
        sinks=config.flag("add_swa_attention_sink_bias"),
    )
    block, feed_forward = experts(config, router_bias=True), dense(config)
    layers = tuple(
        Layer(mixers=(sliding if kind else full,), dense=None if moe else feed_forward, experts=block if moe else None)
        for kind, moe in zip(pattern, expert_layers(config), strict=True)
    )
    return Blueprint(layers=layers, gguf="mimo2")


def step3(config: Config) -> Blueprint:
    """Step 3.5 and 3.7 Flash: three of four layers slide."""
    return decoder(config, "step35", moe=True, period=4, attn={"qk_norm": "head"}, expert={"router_bias": False})


def laguna(config: Config) -> Blueprint:
    """Laguna: the number of query heads differs by layer; a gate value per head; a dense first layer."""
    heads = config.numbers("num_attention_heads_per_layer")
    is_moe = expert_layers(config)
    block = experts(config, router_bias=True)
    layers = tuple(
        Layer(
            mixers=(
                attention(
                    config,
                    query_heads=heads[index] if heads else config.size("num_attention_heads"),
                    window_tokens=span.window,
                    qk_norm="head",
                    gate="head",
                ),
            ),
            dense=None if is_moe[index] else dense(config),
            experts=block if is_moe[index] else None,
        )
        for index, span in enumerate(spans(config, 4))
    )
    return Blueprint(layers=layers, gguf="laguna")


def muse_glimmer(config: Config) -> Blueprint:
    """Muse Glimmer: three of four layers slide, a separate output gate, four norms."""
    return decoder(config, "muse-glimmer", period=4, attn={"qk_norm": "head", "gate": "separate"}, norms=FOUR_NORMS)
