"""From layers to tensors: which matrices, norms and biases a model holds, with their shapes.

Names and splits follow GGUF (llama.cpp v0.5.0 src/models); element counts equal the Hugging Face checkpoints
(checked against published totals by tests/models/test_catalog_counts.py).
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from fitserve.models.types import (
    Attention,
    CompressedAttention,
    DenseMlp,
    Experts,
    LatentAttention,
    Layer,
    LinearAttention,
    Mixer,
    ShortConvolution,
    StateSpace,
    TensorGroup,
)

Spec = tuple[str, tuple[int, ...]]


def _attention(mixer: Attention, hidden: int) -> Iterator[Spec]:
    queries = mixer.query_heads * mixer.key_dim
    keys, values = mixer.kv_heads * mixer.key_dim, mixer.kv_heads * mixer.value_dim
    if mixer.fused_qkv:
        yield "attn_qkv.weight", (hidden, queries + keys + values)
        if mixer.qkv_bias:
            yield "attn_qkv.bias", (queries + keys + values,)
    else:
        yield from _split_qkv(mixer, hidden, queries * (2 if mixer.gate == "fused" else 1), keys, values)
    yield "attn_output.weight", (mixer.query_heads * mixer.value_dim, hidden)
    if mixer.output_bias:
        yield "attn_output.bias", (hidden,)
    if mixer.qk_norm != "none":
        whole = mixer.qk_norm == "full"
        yield "attn_q_norm.weight", (queries if whole else mixer.key_dim,)
        yield "attn_k_norm.weight", (keys if whole else mixer.key_dim,)
    if mixer.sinks:
        yield "attn_sinks.weight", (mixer.query_heads,)
    if mixer.gate == "separate":
        yield "attn_gate.weight", (hidden, queries)
    if mixer.gate == "head":
        yield "attn_gate.weight", (hidden, mixer.query_heads)


def _split_qkv(mixer: Attention, hidden: int, queries: int, keys: int, values: int) -> Iterator[Spec]:
    widths = [("attn_q", queries), ("attn_k", keys)]
    if not mixer.value_is_key:
        widths.append(("attn_v", values))
    for name, width in widths:
        yield f"{name}.weight", (hidden, width)
        if mixer.qkv_bias:
            yield f"{name}.bias", (width,)


def _latent(mixer: LatentAttention, hidden: int) -> Iterator[Spec]:
    heads, query_dim = mixer.query_heads, mixer.nope_dim + mixer.rope_dim
    if mixer.q_lora_rank:
        yield "attn_q_a.weight", (hidden, mixer.q_lora_rank)
        yield "attn_q_a_norm.weight", (mixer.q_lora_rank,)
        yield "attn_q_b.weight", (mixer.q_lora_rank, heads * query_dim)
    else:
        yield "attn_q.weight", (hidden, heads * query_dim)
    yield "attn_kv_a_mqa.weight", (hidden, mixer.cache_width)
    yield "attn_kv_a_norm.weight", (mixer.kv_lora_rank,)
    yield "attn_k_b.weight", (mixer.nope_dim, mixer.kv_lora_rank, heads)
    yield "attn_v_b.weight", (mixer.kv_lora_rank, mixer.value_dim, heads)
    yield "attn_output.weight", (heads * mixer.value_dim, hidden)
    if mixer.gate:
        yield "attn_gate.weight", (hidden, heads * mixer.value_dim)
    if mixer.indexer is not None:
        index = mixer.indexer
        yield "indexer.k_norm.weight", (index.head_dim,)
        yield "indexer.k_norm.bias", (index.head_dim,)
        yield "indexer.proj.weight", (hidden, index.heads)
        yield "indexer.attn_k.weight", (hidden, index.head_dim)
        yield "indexer.attn_q_b.weight", (mixer.q_lora_rank or hidden, index.heads * index.head_dim)


def _compressed(mixer: CompressedAttention, hidden: int) -> Iterator[Spec]:
    heads, dim = mixer.query_heads, mixer.head_dim
    yield "attn_sinks.weight", (heads,)
    yield "attn_q_a.weight", (hidden, mixer.q_lora_rank)
    yield "attn_q_a_norm.weight", (mixer.q_lora_rank,)
    yield "attn_q_b.weight", (mixer.q_lora_rank, heads * dim)
    yield "attn_kv.weight", (hidden, dim)
    yield "attn_kv_a_norm.weight", (dim,)
    yield "attn_output_a.weight", (heads * dim // mixer.o_groups, mixer.o_groups * mixer.o_lora_rank)
    yield "attn_output_b.weight", (mixer.o_groups * mixer.o_lora_rank, hidden)
    if mixer.ratio:
        width = (2 if mixer.ratio == 4 else 1) * dim
        yield from _compressor("attn_compressor", hidden, width, dim, mixer.ratio)
    if mixer.indexer is not None:
        index = mixer.indexer
        yield "indexer.proj.weight", (hidden, index.heads)
        yield "indexer.attn_q_b.weight", (mixer.q_lora_rank, index.heads * index.head_dim)
        yield from _compressor("indexer_compressor", hidden, 2 * index.head_dim, index.head_dim, mixer.ratio)


def _compressor(name: str, hidden: int, width: int, dim: int, ratio: int) -> Iterator[Spec]:
    yield f"{name}_kv.weight", (hidden, width)
    yield f"{name}_gate.weight", (hidden, width)
    yield f"{name}_ape.weight", (width, ratio)
    yield f"{name}_norm.weight", (dim,)


def _linear(mixer: LinearAttention, hidden: int) -> Iterator[Spec]:
    keys, values = mixer.key_heads * mixer.key_dim, mixer.value_heads * mixer.value_dim
    if mixer.kind == "gated_delta":
        yield "attn_qkv.weight", (hidden, 2 * keys + values)
        yield "attn_gate.weight", (hidden, values)
        yield "ssm_conv1d.weight", (mixer.conv_kernel, 2 * keys + values)
        yield "ssm_beta.weight", (hidden, mixer.value_heads)
        yield "ssm_alpha.weight", (hidden, mixer.value_heads)
        yield "ssm_dt.bias", (mixer.value_heads,)
        yield "ssm_a", (mixer.value_heads,)
        yield "ssm_norm.weight", (mixer.value_dim,)
        yield "ssm_out.weight", (values, hidden)
    elif mixer.kind == "kda":
        yield from _kda(mixer, hidden, keys, values)
    else:  # lightning: fused qkv, output gate, output norm, output projection
        yield "attn_qkv.weight", (hidden, 3 * values)
        yield "attn_gate.weight", (hidden, values)
        yield "ssm_norm.weight", (values,)
        yield "attn_output.weight", (values, hidden)


def _kda(mixer: LinearAttention, hidden: int, keys: int, values: int) -> Iterator[Spec]:
    for name, width in (("q", keys), ("k", keys), ("v", values)):
        yield f"attn_{name}.weight", (hidden, width)
        yield f"ssm_conv1d_{name}.weight", (mixer.conv_kernel, 1, width)
    yield "ssm_f_a.weight", (hidden, mixer.key_dim)
    yield "ssm_f_b.weight", (mixer.key_dim, keys)
    if mixer.full_rank_gate:
        yield "ssm_g.weight", (hidden, values)
    else:
        yield "ssm_g_a.weight", (hidden, mixer.key_dim)
        yield "ssm_g_b.weight", (mixer.key_dim, values)
    yield "ssm_beta.weight", (hidden, mixer.value_heads)
    yield "ssm_dt.bias", (keys,)
    yield "ssm_a", (mixer.value_heads,)
    yield "ssm_norm.weight", (mixer.value_dim,)
    yield "attn_output.weight", (values, hidden)


def _state_space(mixer: StateSpace, hidden: int) -> Iterator[Spec]:
    inner, state = mixer.inner, mixer.state
    if mixer.generation == 1:
        yield "ssm_in.weight", (hidden, 2 * inner)
        yield "ssm_conv1d.weight", (mixer.conv_kernel, inner)
        yield "ssm_conv1d.bias", (inner,)
        yield "ssm_x.weight", (inner, mixer.dt_rank + 2 * state)
        yield "ssm_dt.weight", (mixer.dt_rank, inner)
        yield "ssm_dt.bias", (inner,)
        yield "ssm_a", (state, inner)
        yield "ssm_d", (inner,)
        if mixer.inner_norms:
            yield "ssm_dt_norm.weight", (mixer.dt_rank,)
            yield "ssm_b_norm.weight", (state,)
            yield "ssm_c_norm.weight", (state,)
    else:
        channels = inner + 2 * mixer.groups * state
        yield "ssm_in.weight", (hidden, inner + channels + mixer.heads)
        yield "ssm_conv1d.weight", (mixer.conv_kernel, channels)
        yield "ssm_conv1d.bias", (channels,)
        yield "ssm_dt.bias", (mixer.heads,)
        yield "ssm_a", (1, mixer.heads)
        yield "ssm_d", (1, mixer.heads)
        if mixer.gated_norm:
            yield "ssm_norm.weight", (inner // mixer.groups, mixer.groups)
    yield "ssm_out.weight", (inner, hidden)


def _short_convolution(mixer: ShortConvolution, hidden: int) -> Iterator[Spec]:
    yield "shortconv.conv.weight", (mixer.kernel, mixer.channels)
    yield "shortconv.in_proj.weight", (hidden, 3 * mixer.channels)
    yield "shortconv.out_proj.weight", (mixer.channels, hidden)


def mixer_tensors(mixer: Mixer, hidden: int) -> Iterator[Spec]:
    """Names and shapes of one mixer's tensors."""
    match mixer:
        case Attention():
            return _attention(mixer, hidden)
        case LatentAttention():
            return _latent(mixer, hidden)
        case CompressedAttention():
            return _compressed(mixer, hidden)
        case LinearAttention():
            return _linear(mixer, hidden)
        case StateSpace():
            return _state_space(mixer, hidden)
        case ShortConvolution():
            return _short_convolution(mixer, hidden)


def dense_tensors(mlp: DenseMlp, hidden: int) -> Iterator[Spec]:
    """Names and shapes of a feed-forward block."""
    if mlp.fused_gate_up:
        yield "ffn_up.weight", (hidden, 2 * mlp.width)
    else:
        if mlp.gated:
            yield "ffn_gate.weight", (hidden, mlp.width)
        yield "ffn_up.weight", (hidden, mlp.width)
    yield "ffn_down.weight", (mlp.width, hidden)
    if mlp.bias:
        yield "ffn_up.bias", (mlp.width,)
        yield "ffn_down.bias", (hidden,)


def expert_tensors(moe: Experts, hidden: int, vocab: int) -> Iterator[Spec]:
    """Names and shapes of the router, the experts and the shared expert of a layer."""
    width = moe.latent_width or hidden
    yield "ffn_gate_inp.weight", (hidden, moe.count)
    if moe.router_bias:
        yield ("exp_probs_b.bias" if not moe.expert_bias else "ffn_gate_inp.bias"), (moe.count,)
    if moe.hash_routed:
        yield "ffn_gate_tid2eid.weight", (moe.used, vocab)
    if moe.latent_width:
        yield "ffn_latent_down.weight", (hidden, moe.latent_width)
        yield "ffn_latent_up.weight", (moe.latent_width, hidden)
    if moe.fused_gate_up:
        yield "ffn_gate_up_exps.weight", (width, 2 * moe.width, moe.count)
    else:
        if moe.gated:
            yield "ffn_gate_exps.weight", (width, moe.width, moe.count)
        yield "ffn_up_exps.weight", (width, moe.width, moe.count)
    yield "ffn_down_exps.weight", (moe.width, width, moe.count)
    if moe.expert_bias:
        for name, rows in (("gate", moe.width), ("up", moe.width), ("down", width)):
            yield f"ffn_{name}_exps.bias", (rows, moe.count)
    if moe.shared_width:
        if moe.gated:
            yield "ffn_gate_shexp.weight", (hidden, moe.shared_width)
        yield "ffn_up_shexp.weight", (hidden, moe.shared_width)
        yield "ffn_down_shexp.weight", (moe.shared_width, hidden)
        if moe.shared_gate:
            yield "ffn_gate_inp_shexp.weight", (hidden,)


def layer_tensors(layer: Layer, hidden: int, vocab: int) -> Iterator[Spec]:
    """Names and shapes of one layer's matrices and small tensors; block norms are added by the architecture."""
    for mixer in layer.mixers:
        yield from mixer_tensors(mixer, hidden)
    if layer.dense is not None:
        yield from dense_tensors(layer.dense, hidden)
    if layer.experts is not None:
        yield from expert_tensors(layer.experts, hidden, vocab)


def grouped(specs: Iterable[tuple[int | None, str, tuple[int, ...]]], part: str = "text") -> tuple[TensorGroup, ...]:
    """Groups (layer, role, shape) triples by role and shape, in order of first appearance."""
    layers: dict[tuple[str, tuple[int, ...]], list[int]] = defaultdict(list)
    for layer, role, shape in specs:
        found = layers[role, shape]
        if layer is not None:
            found.append(layer)
    return tuple(
        TensorGroup(role=role, shape=shape, layers=tuple(indices), part=part)
        for (role, shape), indices in layers.items()
    )
