"""From the metadata and tensor table of a GGUF file to a LanguageModel. No I/O: the reader hands both over.

The tensor table decides what a layer is (a state-space block has ssm_* tensors) and how wide; metadata names the heads,
windows and states. Keys: llama.cpp v0.5.0 src/llama-arch.cpp LLM_KV_NAMES.
"""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from fitserve.foundation.errors import FactMissing, InputError
from fitserve.foundation.facts import load_toml
from fitserve.models.types import (
    Attention,
    CompressedAttention,
    DenseMlp,
    Experts,
    Indexer,
    LanguageModel,
    LatentAttention,
    Layer,
    LinearAttention,
    Mixer,
    QuantizedCheckpoint,
    ShortConvolution,
    StateSpace,
    TensorGroup,
)

_BLOCK = re.compile(r"blk\.(\d+)\.(.+)")
_MOST_LAYERS = 1024
_MOST = 2**31
_DELTA = {"qwen3next", "qwen35", "qwen35moe"}


class Row(NamedTuple):
    """One tensor: its full name, shape, type and bytes."""

    name: str
    shape: tuple[int, ...]
    type: str
    bytes: int


class _Metadata:
    """Metadata of the file's architecture, checked as it is read."""

    def __init__(self, values: Mapping[str, Any], where: str) -> None:
        self._values = values
        self.where = where
        name = values.get("general.architecture")
        if not isinstance(name, str) or not name:
            raise InputError.of("config_field_missing", field="general.architecture", where=where)
        self.architecture = name

    def raw(self, key: str) -> Any:
        return self._values.get(f"{self.architecture}.{key}")

    def number(self, key: str, default: int | None = None, layer: int | None = None) -> int:
        """A whole number; of a per-layer array the entry of `layer`. Raises InputError for nonsense."""
        value = self.raw(key)
        if isinstance(value, list):
            value = value[layer if layer is not None and layer < len(value) else -1] if value else None
        if value is None:
            if default is None:
                raise InputError.of("config_field_missing", field=f"{self.architecture}.{key}", where=self.where)
            return default
        if isinstance(value, float) and value.is_integer():
            value = int(value)
        if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value < _MOST:
            raise InputError.of(
                "config_field_wrong", field=f"{self.architecture}.{key}", value=str(value)[:60], where=self.where
            )
        return value

    def flags(self, key: str) -> list[bool] | None:
        """A list of booleans, or None."""
        value = self.raw(key)
        return [bool(item) for item in value] if isinstance(value, list) else None


def model_from_gguf(metadata: Mapping[str, Any], rows: Sequence[Row], name: str) -> LanguageModel:
    """The model of a file (all parts of a split one). Raises InputError for a broken header, FactMissing for an unknown layer."""
    data = _Metadata(metadata, name)
    count = data.number("block_count") - data.number("nextn_predict_layers", 0)
    if not 1 <= count <= _MOST_LAYERS:
        raise InputError.of("config_field_wrong", field="block_count", value=str(count), where=name)
    blocks = _blocks(rows)
    embedding = next((row for row in rows if row.name == "token_embd.weight"), None)
    if embedding is None or len(embedding.shape) != 2:
        raise InputError.of("config_field_missing", field="token_embd.weight", where=name)
    windows = _windows(data, count)
    layers = tuple(_layer(data, index, blocks.get(index, {}), windows[index]) for index in range(count))
    rotary = data.number("rope.dimension_count", _key_length(data, 0))
    return LanguageModel(
        id=name,
        architecture=f"GGUF {data.architecture}",
        model_type=data.architecture,
        hidden_size=data.number("embedding_length"),
        vocab_size=embedding.shape[1],
        max_context_tokens=max(1, data.number("context_length")),
        tied_embeddings=not any(row.name == "output.weight" for row in rows),
        dtype="bf16",
        layers=layers,
        tensors=_groups(rows, count),
        gguf_architecture=data.architecture,
        rotary_dim=rotary,
        recurrent_dtype="f32",
        checkpoint=QuantizedCheckpoint(weight_format=f"gguf:{file_type(metadata)}"),
        stored_weight_bytes=sum(row.bytes for row in rows),
        is_local=True,
    )


def file_type(metadata: Mapping[str, Any]) -> str:
    """Name of the file's mix; `F16` types without a stated mix are called `mix-unnamed`."""
    number = metadata.get("general.file_type")
    names = load_toml("fitserve.models", "gguf_files.toml")["file_types"]
    return str(names.get(str(number), "mix-unnamed"))


def _blocks(rows: Sequence[Row]) -> dict[int, dict[str, Row]]:
    blocks: dict[int, dict[str, Row]] = defaultdict(dict)
    for row in rows:
        match = _BLOCK.fullmatch(row.name)
        if match:
            blocks[int(match[1])][match[2]] = row
    return blocks


def _groups(rows: Sequence[Row], count: int) -> tuple[TensorGroup, ...]:
    """Tensors of one role, shape and type together; blocks beyond the model's own are multi-token prediction."""
    found: dict[tuple[str, tuple[int, ...], str, int, str], list[int]] = defaultdict(list)
    for row in rows:
        match = _BLOCK.fullmatch(row.name)
        layer = int(match[1]) if match else -1
        part = "mtp" if layer >= count else "text"
        found[(match[2] if match else row.name, row.shape, row.type, row.bytes, part)].append(layer)
    return tuple(
        TensorGroup(
            role=role,
            shape=shape,
            layers=() if layers == [-1] else tuple(layers),
            part=part,
            stored_type=kind,
            stored_bytes=size,
        )
        for (role, shape, kind, size, part), layers in found.items()
    )


def _windows(data: _Metadata, count: int) -> list[bool]:
    """Which layers are windowed."""
    known = load_toml("fitserve.models", "gguf_files.toml")["windows"].get(data.architecture)
    if known is None or known.get("only_with_layers", count) != count:
        return [False] * count
    listed = data.flags("attention.sliding_window_pattern")
    if listed is not None:
        return (listed + [False] * count)[:count]
    if not data.number("attention.sliding_window", known.get("window_tokens", 0)) or "period" not in known:
        return [False] * count
    period = data.number("attention.sliding_window_pattern", known["period"]) or count + 1
    if known.get("full_first"):
        return [index % period != 0 for index in range(count)]
    return [index % period < period - 1 for index in range(count)]


def _key_length(data: _Metadata, layer: int, windowed: bool = False) -> int:
    heads = max(1, data.number("attention.head_count", 1, layer))
    usual = data.number("attention.key_length", data.number("embedding_length") // heads)
    return data.number("attention.key_length_swa", usual) if windowed else usual


def _layer(data: _Metadata, index: int, block: Mapping[str, Row], windowed: bool) -> Layer:
    return Layer(
        mixers=tuple(_mixers(data, index, block, windowed)),
        dense=_dense(data, index, block),
        experts=_experts(data, block),
    )


def _mixers(data: _Metadata, index: int, block: Mapping[str, Row], windowed: bool) -> list[Mixer]:
    found: list[Mixer] = []
    if "attn_kv_a_mqa.weight" in block:
        found.append(_latent(data, block))
    elif data.architecture == "deepseek4" and "attn_kv.weight" in block:
        found.append(_compressed(data, index, block))
    elif "ssm_f_a.weight" in block:
        heads, dim = data.number("attention.head_count", layer=index), data.number("kda.head_dim")
        kernel = data.number("ssm.conv_kernel")
        found.append(
            LinearAttention(
                kind="kda", key_heads=heads, value_heads=heads, key_dim=dim, value_dim=dim, conv_kernel=kernel
            )
        )
    elif any(role.startswith("ssm_") and "norm" not in role for role in block):
        found.append(_state(data, block))
    if "shortconv.conv.weight" in block:
        found.append(
            ShortConvolution(kernel=data.number("shortconv.l_cache"), channels=data.number("embedding_length"))
        )
    is_softmax = "attn_q.weight" in block or "attn_qkv.weight" in block
    if is_softmax and not any(isinstance(m, LatentAttention | CompressedAttention | LinearAttention) for m in found):
        found.append(_attention(data, index, block, windowed))
    if not found and any(role.startswith(("attn_", "ssm", "time_mix")) and "norm" not in role for role in block):
        raise FactMissing(f"the layer kind of block {index} of {data.architecture}", "src/fitserve/models/from_gguf.py")
    return found


def _attention(data: _Metadata, index: int, block: Mapping[str, Row], windowed: bool) -> Mixer:
    key_dim = _key_length(data, index, windowed)
    value_dim = data.number("attention.value_length", key_dim)
    value_dim = data.number("attention.value_length_swa", value_dim) if windowed else value_dim
    heads = data.number("attention.head_count", layer=index)
    kv_heads = data.number("attention.head_count_kv", heads, index)
    if data.architecture == "minimax-01" and "attn_gate.weight" in block:
        return LinearAttention(
            kind="lightning", key_heads=heads, value_heads=heads, key_dim=key_dim, value_dim=key_dim, conv_kernel=1
        )
    if min(key_dim, value_dim, heads, kv_heads) < 1:
        raise InputError.of(
            "config_field_wrong",
            field="attention.head_count",
            value=f"{heads}/{kv_heads} x {key_dim}",
            where=data.where,
        )
    known = load_toml("fitserve.models", "gguf_files.toml")["windows"].get(data.architecture, {})
    window = data.number("attention.sliding_window", known.get("window_tokens", 0)) if windowed else 0
    owners = (
        data.number("block_count")
        - data.number("nextn_predict_layers", 0)
        - data.number("attention.shared_kv_layers", 0)
    )
    return Attention(
        query_heads=heads,
        kv_heads=kv_heads,
        key_dim=key_dim,
        value_dim=value_dim,
        window_tokens=window or None if not known.get("chunked") else None,
        chunk_tokens=window or None if known.get("chunked") else None,
        shares_kv=index >= owners,
        value_is_key="attn_v.weight" not in block and "attn_qkv.weight" not in block and index < owners,
        sinks="attn_sinks.weight" in block,
        gate="fused" if data.architecture in _DELTA else "separate" if "attn_gate.weight" in block else "none",
        fused_qkv="attn_qkv.weight" in block,
        index_dim=block["indexer.k_proj.weight"].shape[1] if "indexer.k_proj.weight" in block else 0,
    )


def _latent(data: _Metadata, block: Mapping[str, Row]) -> LatentAttention:
    rope = data.number("rope.dimension_count")
    keys = data.number("attention.key_length_mla", data.number("attention.key_length", 0))
    indexer = None
    if any(role.startswith("indexer.") for role in block):
        indexer = Indexer(
            heads=data.number("attention.indexer.head_count"), head_dim=data.number("attention.indexer.key_length"),
            top_k=data.number("attention.indexer.top_k"),
        )  # fmt: skip
    return LatentAttention(
        query_heads=data.number("attention.head_count"),
        q_lora_rank=data.number("attention.q_lora_rank") if "attn_q_a.weight" in block else None,
        kv_lora_rank=data.number("attention.kv_lora_rank"),
        nope_dim=max(1, keys - rope),
        rope_dim=rope,
        value_dim=data.number("attention.value_length_mla", data.number("attention.value_length", 0)),
        indexer=indexer,
    )


def _compressed(data: _Metadata, index: int, block: Mapping[str, Row]) -> CompressedAttention:
    ratio = data.number("attention.compress_ratios", 0, index)
    indexer = None
    if any(role.startswith("indexer") for role in block):
        indexer = Indexer(
            heads=data.number("attention.indexer.head_count"), head_dim=data.number("attention.indexer.key_length"),
            top_k=data.number("attention.indexer.top_k"),
        )  # fmt: skip
    return CompressedAttention(
        query_heads=data.number("attention.head_count"),
        head_dim=block["attn_kv.weight"].shape[1],
        rope_dim=data.number("rope.dimension_count"),
        q_lora_rank=data.number("attention.q_lora_rank"),
        o_lora_rank=data.number("attention.output_lora_rank"),
        o_groups=data.number("attention.output_group_count"),
        window_tokens=data.number("attention.sliding_window"),
        ratio=ratio,
        indexer=indexer,
    )


def _state(data: _Metadata, block: Mapping[str, Row]) -> Mixer:
    inner, state, kernel = data.number("ssm.inner_size"), data.number("ssm.state_size"), data.number("ssm.conv_kernel")
    groups, heads = data.number("ssm.group_count", 0), data.number("ssm.time_step_rank", 0)
    if data.architecture in _DELTA:
        return LinearAttention(
            kind="gated_delta",
            key_heads=groups,
            value_heads=heads,
            key_dim=state,
            value_dim=inner // max(1, heads),
            conv_kernel=kernel,
        )
    if "ssm_x.weight" in block:
        return StateSpace(generation=1, inner=inner, state=state, conv_kernel=kernel, dt_rank=heads)
    return StateSpace(
        generation=2,
        inner=inner,
        state=state,
        conv_kernel=kernel,
        groups=groups,
        heads=heads,
        gated_norm="ssm_norm.weight" in block,
    )


def _dense(data: _Metadata, index: int, block: Mapping[str, Row]) -> DenseMlp | None:
    up = block.get("ffn_up.weight")
    if up is None:
        return None
    width = up.shape[1]
    stated = data.number("feed_forward_length", width, index)
    fused = "ffn_gate.weight" not in block and stated > 0 and width == 2 * stated
    return DenseMlp(width=stated if fused else width, gated=fused or "ffn_gate.weight" in block, fused_gate_up=fused)


def _experts(data: _Metadata, block: Mapping[str, Row]) -> Experts | None:
    down = block.get("ffn_down_exps.weight")
    if down is None or len(down.shape) != 3:
        return None
    shared = block.get("ffn_up_shexp.weight")
    latent = block.get("ffn_latent_down.weight")
    return Experts(
        count=down.shape[2],
        used=data.number("expert_used_count"),
        width=down.shape[0],
        shared_width=shared.shape[1] if shared else 0,
        gated="ffn_gate_exps.weight" in block or "ffn_gate_up_exps.weight" in block,
        router_bias="exp_probs_b.bias" in block,
        expert_bias="ffn_up_exps.bias" in block or "ffn_gate_up_exps.bias" in block,
        latent_width=latent.shape[1] if latent else None,
        fused_gate_up="ffn_gate_up_exps.weight" in block,
    )
