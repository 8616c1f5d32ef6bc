"""Families with multi-head latent attention or compressed attention: DeepSeek, Kimi, GLM-5, Mistral 4, A.X K1."""

from dataclasses import replace
from typing import Any

from fitserve.models.architectures.blueprint import Blueprint, Extra
from fitserve.models.architectures.config import Config
from fitserve.models.architectures.parts import dense, expert_layers, experts, latent
from fitserve.models.types import CompressedAttention, Indexer, Layer


def _mla(
    config: Config,
    gguf: str | None,
    router_bias: bool,
    norms: tuple[str, ...] = ("attn_norm", "ffn_norm"),
    **changes: Any,
) -> Blueprint:
    mixer = latent(config)
    block = experts(config, router_bias=router_bias, **changes)
    feed_forward = dense(config)
    layers = tuple(
        Layer(mixers=(mixer,), dense=None if moe else feed_forward, experts=block if moe else None)
        for moe in expert_layers(config)
    )
    return Blueprint(layers=layers, gguf=gguf, norms=norms)


def deepseek_v2(config: Config) -> Blueprint:
    """DeepSeek-V2 and its Lite and Coder forms."""
    return _mla(config, "deepseek2", router_bias=False)


def deepseek_v3(config: Config) -> Blueprint:
    """DeepSeek-V3, R1, V3.1, Kimi K2."""
    return _mla(config, "deepseek2", router_bias=True)


def deepseek_v32(config: Config) -> Blueprint:
    """DeepSeek-V3.2: V3 with a lightning indexer in every layer."""
    return _mla(config, "deepseek32", router_bias=True)


def glm_dsa(config: Config) -> Blueprint:
    """GLM-5: the layout of DeepSeek-V3.2; from 5.2 most layers share the token choice of an earlier one."""
    base = _mla(config, "glm-dsa", router_bias=True)
    step, offset = config.size("index_topk_freq", default=1), config.count("index_skip_topk_offset", default=2)
    layers = tuple(
        replace(layer, mixers=(replace(latent(config), shares_index=max(index - offset + 1, 0) % step != 0),))
        for index, layer in enumerate(base.layers)
    )
    return replace(base, layers=layers)


def glm4_moe_lite(config: Config) -> Blueprint:
    """GLM-4.7-Flash: latent attention; GGUF calls it deepseek2."""
    return _mla(config, "deepseek2", router_bias=True)


def mistral4(config: Config) -> Blueprint:
    """Mistral Small 4."""
    return _mla(config, "mistral4", router_bias=False, fused_gate_up=True)


def axk1(config: Config) -> Blueprint:
    """A.X K1: DeepSeek-V3 with a third norm."""
    return _mla(config, None, router_bias=False, norms=("attn_norm", "ffn_norm", "ffn_post_norm"))


def deepseek_v4(config: Config) -> Blueprint:
    """DeepSeek-V4: a window of 128 tokens plus compressed keys (ratio 4 or 128), hyper-connections, hashed first layers."""
    ratios = config.numbers("compress_ratios") or []
    count, hidden = config.layer_count, config.size("hidden_size")
    hashed = config.count("num_hash_layers")
    index = Indexer(
        heads=config.size("index_n_heads"), head_dim=config.size("index_head_dim"), top_k=config.size("index_topk")
    )
    mixers = [_compressed(config, ratio, index) for ratio in ratios]
    layers = tuple(
        Layer(mixers=(mixer,), experts=experts(config, router_bias=position >= hashed, hash_routed=position < hashed))
        for position, mixer in enumerate(mixers[:count])
    )
    return Blueprint(
        layers=layers,
        gguf="deepseek4",
        extra=_hyper_connections(config, hidden, count),
        mtp_mixers=tuple(mixers[count:]),
    )


def _compressed(config: Config, ratio: int, indexer: Indexer) -> CompressedAttention:
    return CompressedAttention(
        query_heads=config.size("num_attention_heads"),
        head_dim=config.size("head_dim"),
        rope_dim=config.size("qk_rope_head_dim"),
        q_lora_rank=config.size("q_lora_rank"),
        o_lora_rank=config.size("o_lora_rank"),
        o_groups=config.size("o_groups"),
        window_tokens=config.size("sliding_window"),
        ratio=ratio,
        indexer=indexer if ratio == 4 else None,
    )


def _hyper_connections(config: Config, hidden: int, count: int) -> tuple[Extra, ...]:
    streams = config.size("hc_mult")
    mixes = (2 + streams) * streams
    extra: list[Extra] = [
        (None, "hc_head_fn.weight", (streams * hidden, streams)),
        (None, "hc_head_base.weight", (streams,)),
        (None, "hc_head_scale.weight", (1,)),
    ]
    for index in range(count):
        for block in ("attn", "ffn"):
            extra += [
                (index, f"hc_{block}_fn.weight", (streams * hidden, mixes)),
                (index, f"hc_{block}_base.weight", (mixes,)),
                (index, f"hc_{block}_scale.weight", (3,)),
            ]
    return tuple(extra)
