"""Further decoders of the common shape: OLMo, Falcon, Hunyuan, Ernie, InternLM, DBRX, pruned Llama (Nemotron)."""

from fitserve.models.architectures.blueprint import Blueprint
from fitserve.models.architectures.config import Config
from fitserve.models.architectures.decoders import POST_NORMS, decoder, rope_factors
from fitserve.models.architectures.parts import attention, dense, experts
from fitserve.models.types import Attention, Layer


def olmo2(config: Config) -> Blueprint:
    """OLMo 2 and 3: norms after the blocks and over the whole query and key; OLMo 3 slides in three of four layers."""
    return decoder(config, "olmo2", period=4, attn={"qk_norm": "full"}, norms=POST_NORMS)


def olmoe(config: Config) -> Blueprint:
    """OLMoE."""
    return decoder(config, "olmoe", moe=True, attn={"qk_norm": "full"})


def smollm3(config: Config) -> Blueprint:
    """SmolLM3: the layout of Llama, tied."""
    return decoder(config, "smollm3", tied_default=True)


def starcoder2(config: Config) -> Blueprint:
    """StarCoder2: biases everywhere, two matrices in the feed-forward block, a window on all layers."""
    bias = config.flag("use_bias", default=True)
    return decoder(
        config,
        "starcoder2",
        window_by_default=True,
        attn={"qkv_bias": bias, "output_bias": bias},
        mlp={"gated": False, "bias": bias},
        norm_bias=True,
        tied_default=True,
    )


def falcon(config: Config) -> Blueprint:
    """Falcon 7B, 40B, 180B: fused q, k, v; two biased norms with the new decoder, else one."""
    new = config.flag("new_decoder_architecture")
    kv = config.size("num_kv_heads", default=1) if new or not config.flag("multi_query", default=True) else 1
    bias = config.flag("bias")
    hidden = config.size("hidden_size")
    return decoder(
        config,
        "falcon",
        attn={"kv_heads": kv, "fused_qkv": True, "qkv_bias": bias, "output_bias": bias},
        mlp={"gated": False, "bias": bias, "width": config.size("ffn_hidden_size", default=4 * hidden)},
        norms=("attn_norm", "attn_norm_2") if new else ("attn_norm",),
        norm_bias=True,
        tied_default=True,
    )


def hunyuan_dense(config: Config) -> Blueprint:
    """Hunyuan dense: norms on heads."""
    return decoder(config, "hunyuan-dense", attn={"qk_norm": "head"})


def hunyuan_moe(config: Config) -> Blueprint:
    """Hunyuan-A13B."""
    return decoder(config, "hunyuan-moe", moe=True, attn={"qk_norm": "head"})


def hy3(config: Config) -> Blueprint:
    """Hy3: norms on heads, a dense first layer."""
    return decoder(config, "hy_v3", moe=True, attn={"qk_norm": "head"}, expert={"router_bias": True})


def ernie(config: Config) -> Blueprint:
    """ERNIE 4.5 dense."""
    return decoder(config, "ernie4_5", tied_default=True)


def ernie_moe(config: Config) -> Blueprint:
    """ERNIE 4.5 with experts."""
    return decoder(config, "ernie4_5-moe", moe=True, expert={"router_bias": True}, tied_default=True)


def internlm2(config: Config) -> Blueprint:
    """InternLM2 and 2.5: the layout of Llama with one fused projection in the checkpoint."""
    return decoder(config, "internlm2")


def apertus(config: Config) -> Blueprint:
    """Apertus: xIELU, so two matrices in the feed-forward block, with four scalars a layer; norms on heads."""
    scalars = tuple(
        (index, f"hf:xielu.{name}", (1,))
        for index in range(config.layer_count)
        for name in ("alpha_n", "alpha_p", "beta", "eps")
    )
    return decoder(
        config, "apertus", attn={"qk_norm": "head"}, mlp={"gated": False}, extra=rope_factors(config) + scalars
    )


def dbrx(config: Config) -> Blueprint:
    """DBRX: fused q, k, v; attention and expert numbers in objects of their own."""
    attn, ffn = config.part("attn_config"), config.part("ffn_config")
    heads = config.size("n_heads")
    dim = config.size("d_model") // heads
    layer = Layer(
        mixers=(
            Attention(query_heads=heads, kv_heads=attn.size("kv_n_heads"), key_dim=dim, value_dim=dim, fused_qkv=True),
        ),
        experts=experts(
            Config(
                {
                    "num_experts": ffn.size("moe_num_experts"),
                    "moe_k": ffn.size("moe_top_k"),
                    "moe_intermediate_size": ffn.size("ffn_hidden_size"),
                },
                config.where,
            )
        ),
    )
    return Blueprint(layers=(layer,) * config.layer_count, gguf="dbrx", norms=("attn_norm", "attn_output_norm"))


def deci(config: Config) -> Blueprint:
    """Nemotron Super and Ultra (DeciLM): each block has its own width, or none at all."""
    hidden, heads = config.size("hidden_size"), config.size("num_attention_heads")
    layers = []
    for block in config.maps("block_configs"):
        attn, ffn = Config(block.get("attention", {}), config.where), Config(block.get("ffn", {}), config.where)
        group = attn.optional("n_heads_in_group")
        mixers = () if group is None else (attention(config, kv_heads=heads // group),)
        multiple = ffn.raw("ffn_mult")
        width = None if not isinstance(multiple, int | float) else -(-int(2 * multiple * hidden / 3) // 256) * 256
        layers.append(
            Layer(
                mixers=mixers,
                dense=None if width is None else dense(Config({"intermediate_size": width}, config.where)),
            )
        )
    with_attention = tuple(i for i, layer in enumerate(layers) if layer.mixers)
    with_mlp = tuple(i for i, layer in enumerate(layers) if layer.dense)
    return Blueprint(
        layers=tuple(layers),
        gguf="deci",
        norms=(),
        norm_layers={"attn_norm": with_attention, "ffn_norm": with_mlp},
        extra=rope_factors(config),
    )


def qwen(config: Config) -> Blueprint:
    """Qwen of 2023: biases on q, k and v; the config states the width of gate and up together (modeling_qwen.py: `// 2`)."""
    width = config.size("intermediate_size") // 2
    return decoder(config, "qwen", attn={"qkv_bias": True, "fused_qkv": True}, mlp={"width": width})
