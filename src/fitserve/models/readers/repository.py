"""A model from config.json and, when they are at hand, the headers of its weight files: a folder or a hub repository."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from fitserve.foundation.errors import InputError
from fitserve.models.architectures.registry import model_from_config
from fitserve.models.quantization import read_quantization
from fitserve.models.readers.safetensors_header import StoredTensor
from fitserve.models.types import LanguageModel, TensorGroup

MOST_CONFIG_BYTES = 1 << 23
_VISION = ("vision", "visual", "multi_modal", "mm_projector", "image_newline", "vit.", "audio", "embed_vision")


def parse_json_object(text: bytes, where: str) -> Mapping[str, Any]:
    """A JSON object. Raises InputError for anything else."""
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InputError.of("config_not_json", where=where, detail=str(error)[:80]) from error
    if not isinstance(value, dict):
        raise InputError.of("config_not_json", where=where, detail=type(value).__name__)
    return value


def model_of(
    config: Mapping[str, Any], model_id: str, where: str, tensors: Iterable[StoredTensor] | None, is_local: bool
) -> LanguageModel:
    """The model of a config; `tensors`, when given, fix the bytes and the parts beside the text model."""
    listed = None if tensors is None else tuple(tensors)
    others = () if listed is None else _other_parts(listed, config)
    model = model_from_config(config, model_id, where, others)
    try:
        checkpoint = read_quantization(config)
    except (ValueError, KeyError, TypeError) as error:
        raise InputError.of(
            "config_field_wrong", field="quantization_config", value=str(error)[:60], where=where
        ) from error
    stored = None if not listed else sum(tensor.bytes for tensor in listed)
    return replace(model, checkpoint=checkpoint, stored_weight_bytes=stored, is_local=is_local)


def _other_parts(tensors: tuple[StoredTensor, ...], config: Mapping[str, Any]) -> tuple[TensorGroup, ...]:
    """Vision (and audio) towers and multi-token-prediction layers, one group each with the bytes that the files hold."""
    text = config.get("text_config") if isinstance(config.get("text_config"), Mapping) else config
    layers = text.get("num_hidden_layers") if isinstance(text, Mapping) else None
    groups = []
    for part in ("vision", "mtp"):
        mine = [tensor for tensor in tensors if _part(tensor.name, layers) == part]
        size = sum(tensor.bytes for tensor in mine)
        if size:
            elements = max(1, size // 2)
            groups.append(
                TensorGroup(role=f"{part}.all", shape=(elements,), part=part, stored_bytes=size, stored_type="stored")
            )
    return tuple(groups)


def _part(name: str, layers: Any) -> str:
    if any(word in name for word in _VISION):
        return "vision"
    if name.startswith("mtp.") or ".mtp." in name:
        return "mtp"
    head, _, rest = name.partition("layers.")
    number = rest.partition(".")[0]
    if rest and number.isdigit() and isinstance(layers, int) and int(number) >= layers and "vision" not in head:
        return "mtp"
    return "text"
