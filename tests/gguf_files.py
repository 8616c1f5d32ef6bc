"""Writes the GGUF header of a model with the `gguf` package: metadata and tensor table, the weights a hole in the file."""

from pathlib import Path
from typing import Any

import gguf

from fitserve.footprint.gguf_mix import typed_tensors
from fitserve.launch.oracle.gguf_metadata import model_metadata, tensor_names
from fitserve.models.gguf_tensors import gguf_tensors
from fitserve.models.types import LanguageModel

_ALIGNMENT = 32


def write_gguf(path: Path, model: LanguageModel, mix: str, vocabulary: int = 0, tokenizer: bool = False) -> Path:
    """A file of this model; `vocabulary` tokens stand in it, with `tokenizer` all that an engine needs to load it."""
    writer = gguf.GGUFWriter(path, str(model.gguf_architecture))
    for key, value in model_metadata(model).items():
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
            role = tensor_names(model).get(tensor.role, tensor.role)
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
