"""Writes the GGUF header of a model with the `gguf` package: metadata and tensor table, the weights a hole in the file."""

from pathlib import Path
from typing import Any

import gguf

from fitserve.engines.llama_cpp.kv_cache import window_of
from fitserve.footprint.gguf_mix import typed_tensors
from fitserve.models.gguf_tensors import gguf_tensors
from fitserve.models.types import (
    Attention,
    CompressedAttention,
    LanguageModel,
    LatentAttention,
    LinearAttention,
    Mixer,
    ShortConvolution,
    StateSpace,
)

_ALIGNMENT = 32
_NORMS = {"attn_post_norm": "post_attention_norm", "ffn_post_norm": "post_ffw_norm"}
"""Names of the file where the model's own differ."""


def write_gguf(path: Path, model: LanguageModel, mix: str, vocabulary: int = 0, tokenizer: bool = False) -> Path:
    """A file of this model; `vocabulary` tokens stand in it, with `tokenizer` all that an engine needs to load it."""
    writer = gguf.GGUFWriter(path, str(model.gguf_architecture))
    for key, value in metadata_of(model).items():
        _add(writer, f"{model.gguf_architecture}.{key}", value)
    writer.add_uint32("general.file_type", {"Q4_K_M": 15, "Q8_0": 7, "F16": 1, "BF16": 32, "Q6_K": 18}[mix])
    if vocabulary:
        writer.add_token_list([f"token-{index}" for index in range(vocabulary)])
    if tokenizer:
        _add_tokenizer(writer, model)
    shapes = {group.role: group.shape for group in gguf_tensors(model)}
    names = []
    for tensor in typed_tensors(model, mix):
        kind = gguf.GGMLQuantizationType[tensor.type]
        for layer in tensor.layers or (None,):
            role = _file_role(model, tensor.role)
            name = role if layer is None else f"blk.{layer}.{role}"
            shape = _shape(model, tensor.role, layer, shapes)
            writer.add_tensor_info(name, shape, _numpy_type(), tensor.bytes_each, raw_dtype=kind)
            names.append((name, tensor.bytes_each))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    writer.close()
    data = sum(-(-size // _ALIGNMENT) * _ALIGNMENT for _, size in names)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + data + _ALIGNMENT)
    return path


def _file_role(model: LanguageModel, role: str) -> str:
    stem = role.removesuffix(".weight")
    if model.gguf_architecture == "gpt-oss" and stem == "ffn_norm":
        return "post_attention_norm.weight"
    return f"{_NORMS[stem]}.weight" if stem in _NORMS else role


def _add_tokenizer(writer: gguf.GGUFWriter, model: LanguageModel) -> None:
    """A SentencePiece vocabulary of the right size, and constants that every architecture asks for."""
    kinds = gguf.TokenType
    rows = next(group.shape[1] for group in gguf_tensors(model) if group.role == "token_embd.weight")
    special = [("<unk>", kinds.UNKNOWN), ("<s>", kinds.CONTROL), ("</s>", kinds.CONTROL)]
    tokens = special + [(f"<0x{index:02X}>", kinds.BYTE) for index in range(256)]
    tokens += [(f"t{index}", kinds.NORMAL) for index in range(rows - len(tokens))]
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    writer.add_token_list([text for text, _ in tokens])
    writer.add_token_scores([-float(index) for index in range(len(tokens))])
    writer.add_token_types([int(kind) for _, kind in tokens])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_layer_norm_eps(1e-6)
    writer.add_expert_weights_scale(1.0)
    writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID)


def _numpy_type() -> Any:
    import numpy as np

    return np.dtype("float32")


def _shape(model: LanguageModel, role: str, layer: int | None, shapes: dict[str, tuple[int, ...]]) -> tuple[int, ...]:
    """The writer takes numpy's order, which is the reverse of the file's."""
    for group in gguf_tensors(model):
        if group.role == role and (layer is None or layer in group.layers):
            return tuple(reversed(group.shape))
    return tuple(reversed(shapes[role]))


def _add(writer: gguf.GGUFWriter, key: str, value: Any) -> None:
    if isinstance(value, list):
        writer.add_array(key, value)
    else:
        writer.add_uint32(key, value)


def metadata_of(model: LanguageModel) -> dict[str, Any]:
    """What the converter writes of a model's shape (llama.cpp v0.5.0 gguf-py constants)."""
    mixers = [layer.mixers for layer in model.layers]
    found: dict[str, Any] = {
        "block_count": len(model.layers),
        "context_length": model.max_context_tokens,
        "embedding_length": model.hidden_size,
        "rope.dimension_count": model.rotary_dim,
        "feed_forward_length": [layer.dense.width if layer.dense else 0 for layer in model.layers],
        "attention.head_count": [_heads(m, "query_heads") for m in mixers],
        "attention.head_count_kv": [_heads(m, "kv_heads") for m in mixers],
    }
    for group in mixers:
        for mixer in group:
            found |= _of_mixer(model, mixer)
    experts = next((layer.experts for layer in model.layers if layer.experts), None)
    if experts is not None:
        found |= {"expert_count": experts.count, "expert_used_count": experts.used}
        found["expert_feed_forward_length"] = experts.width
        found["expert_shared_count"] = experts.shared_width // experts.width
        found["leading_dense_block_count"] = sum(1 for layer in model.layers if layer.experts is None)
    shared = sum(1 for group in mixers for mixer in group if isinstance(mixer, Attention) and mixer.shares_kv)
    if shared:
        found["attention.shared_kv_layers"] = shared
    windowed = [any(window_of(model, mixer) for mixer in group) for group in mixers]
    if any(windowed):
        found["attention.sliding_window_pattern"] = windowed
    ratios = [mixer.ratio for group in mixers for mixer in group if isinstance(mixer, CompressedAttention)]
    return found | ({"attention.compress_ratios": ratios} if ratios else {})


def _heads(mixers: tuple[Mixer, ...], name: str) -> int:
    for mixer in mixers:
        if isinstance(mixer, Attention):
            return int(getattr(mixer, name))
        if isinstance(mixer, LatentAttention | CompressedAttention):
            return mixer.query_heads if name == "query_heads" else 1
        if isinstance(mixer, LinearAttention) and name == "query_heads":
            return mixer.value_heads
        if isinstance(mixer, LinearAttention) and mixer.kind == "lightning":
            return mixer.value_heads
    return 0


def _of_mixer(model: LanguageModel, mixer: Mixer) -> dict[str, Any]:
    match mixer:
        case Attention():
            window = window_of(model, mixer)
            end = "_swa" if window else ""
            lengths = {f"attention.key_length{end}": mixer.key_dim, f"attention.value_length{end}": mixer.value_dim}
            return lengths | ({"attention.sliding_window": window} if window else {})
        case LatentAttention():
            index = mixer.indexer
            return {
                "attention.key_length": mixer.cache_width,
                "attention.value_length": mixer.kv_lora_rank,
                "attention.key_length_mla": mixer.nope_dim + mixer.rope_dim,
                "attention.value_length_mla": mixer.value_dim,
                "attention.kv_lora_rank": mixer.kv_lora_rank,
                "rope.dimension_count": mixer.rope_dim,
                **({"attention.q_lora_rank": mixer.q_lora_rank} if mixer.q_lora_rank else {}),
                **(_indexer(index.heads, index.head_dim, index.top_k) if index else {}),
            }
        case CompressedAttention():
            index = mixer.indexer
            return {
                "attention.key_length": mixer.head_dim,
                "attention.value_length": mixer.head_dim,
                "attention.q_lora_rank": mixer.q_lora_rank,
                "attention.output_lora_rank": mixer.o_lora_rank,
                "attention.output_group_count": mixer.o_groups,
                "attention.sliding_window": mixer.window_tokens,
                "rope.dimension_count": mixer.rope_dim,
                **(_indexer(index.heads, index.head_dim, index.top_k) if index else {}),
            }
        case LinearAttention(kind="kda"):
            return {"kda.head_dim": mixer.key_dim, "ssm.conv_kernel": mixer.conv_kernel}
        case LinearAttention(kind="lightning"):
            return {"attention.key_length": mixer.key_dim, "attention.value_length": mixer.value_dim}
        case LinearAttention():
            return {
                "ssm.conv_kernel": mixer.conv_kernel,
                "ssm.inner_size": mixer.value_heads * mixer.value_dim,
                "ssm.state_size": mixer.key_dim,
                "ssm.group_count": mixer.key_heads,
                "ssm.time_step_rank": mixer.value_heads,
            }
        case StateSpace():
            return {
                "ssm.conv_kernel": mixer.conv_kernel,
                "ssm.inner_size": mixer.inner,
                "ssm.state_size": mixer.state,
                "ssm.group_count": mixer.groups,
                "ssm.time_step_rank": mixer.dt_rank or mixer.heads,
            }
        case ShortConvolution():
            return {"shortconv.l_cache": mixer.kernel}


def _indexer(heads: int, head_dim: int, top_k: int) -> dict[str, int]:
    return {
        "attention.indexer.head_count": heads,
        "attention.indexer.key_length": head_dim,
        "attention.indexer.top_k": top_k,
    }
