"""Which type each tensor gets in a GGUF quantization mix, and what the file weighs.

Rules of llama.cpp v0.5.0 src/llama-quant.cpp (llama_tensor_get_type_impl), restated; checked against the real engine's
buffers (evidence gguf_memory_engine) and published files (evidence gguf_size).
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from fitserve.foundation.errors import FactMissing
from fitserve.models.formats import gguf_types
from fitserve.models.gguf_tensors import gguf_tensors, is_quantizable, unquantized_type
from fitserve.models.types import Attention, LanguageModel, LatentAttention, TensorGroup

BASE_TYPES = {
    "Q2_K": "Q2_K", "Q2_K_S": "Q2_K", "Q3_K_S": "Q3_K", "Q3_K_M": "Q3_K", "Q3_K_L": "Q3_K", "Q4_K_S": "Q4_K",
    "Q4_K_M": "Q4_K", "Q5_K_S": "Q5_K", "Q5_K_M": "Q5_K", "IQ2_S": "IQ2_XS", "IQ2_M": "IQ2_S", "IQ3_XS": "IQ3_S",
    "IQ3_M": "IQ3_S", "MXFP4_MOE": "MXFP4",
    **{name: name for name in (
        "F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "Q6_K", "IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS",
        "IQ3_XXS", "IQ3_S", "IQ4_NL", "IQ4_XS", "TQ1_0", "TQ2_0", "Q2_0",
    )},
}  # fmt: skip
"""Named mixes and their base types."""

_LOW_BIT = {"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS", "IQ2_S", "IQ2_M"}
_WIDER_LOW_BIT = {"IQ2_S", "IQ2_M"}
_EIGHT_EXPERT_OUTPUT = {
    "Q2_K",
    "IQ3_XS",
    "IQ3_XXS",
    "Q3_K_S",
    "Q3_K_M",
    "IQ4_NL",
    "Q4_K_S",
    "Q4_K_M",
    "IQ3_S",
    "IQ3_M",
    "IQ4_XS",
}
_SEVENTY_B = {"llama", "qwen2", "deci", "olmo"}  # 80 layers make these LLM_TYPE_70B (src/models/*.cpp)


@dataclass(frozen=True, slots=True, kw_only=True)
class MixFacts:
    """What the rules ask of a model. `gqa` is query heads per KV head of layer 0, 0 when that layer has no KV."""

    architecture: str
    layer_count: int
    expert_count: int
    gqa: int
    value_layers: tuple[int, ...]
    tied: bool
    is_70b: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class TypedTensor:
    """`count` tensors of one type: those of `layers`, or a single one when `layers` is empty."""

    role: str
    type: str
    bytes_each: int
    layers: tuple[int, ...]
    shape: tuple[int, ...] = ()

    @property
    def total_bytes(self) -> int:
        """Bytes of all of them."""
        return self.bytes_each * max(1, len(self.layers))


def mix_facts(model: LanguageModel, groups: tuple[TensorGroup, ...]) -> MixFacts:
    """Reads the facts off the model."""
    value_roles = {"attn_v.weight", "attn_qkv.weight", "attn_kv_b.weight"}
    values = sorted(layer for group in groups if group.role in value_roles for layer in group.layers)
    experts = max((layer.experts.count for layer in model.layers if layer.experts), default=0)
    architecture = model.gguf_architecture or "llama"
    gqa = _gqa(model)
    return MixFacts(
        architecture=architecture,
        layer_count=len(model.layers),
        expert_count=experts,
        gqa=gqa,
        value_layers=tuple(values),
        tied=not any(group.role == "output.weight" for group in groups),
        is_70b=architecture in _SEVENTY_B and len(model.layers) == 80 and not (architecture == "llama" and gqa == 1),
    )


def _gqa(model: LanguageModel) -> int:
    first = model.layers[0].mixers[0] if model.layers[0].mixers else None
    if isinstance(first, Attention):
        return first.query_heads // first.kv_heads if first.kv_heads else 0
    if isinstance(first, LatentAttention):
        return first.query_heads  # converted files hold one shared KV head
    if model.gguf_architecture in {"qwen3next", "qwen35", "qwen35moe"}:  # one KV head count for all layers
        full = next(m for layer in model.layers for m in layer.mixers if isinstance(m, Attention))
        return full.query_heads // full.kv_heads
    return 0


@lru_cache(maxsize=4096)
def _category(role: str) -> str:
    if role == "output.weight":
        return "output"
    if role in {"token_embd.weight", "per_layer_token_embd.weight"}:
        return "embedding"
    for name in ("attn_qkv", "attn_kv_b", "attn_v", "attn_k", "attn_q", "attn_output"):
        if f"{name}.weight" in role:
            return "value" if name in {"attn_qkv", "attn_kv_b", "attn_v"} else name
    for name in ("ffn_up", "ffn_gate", "ffn_down"):
        if name in role:
            return name
    return "other"


@lru_cache(maxsize=4096)
def _more_bits(position: int, count: int) -> bool:
    return position < count // 8 or position >= 7 * count // 8 or (position - count // 8) % 3 == 2


def tensor_type(group: TensorGroup, mix: str, facts: MixFacts, position: int, layer: int, imatrix: bool) -> str:
    """Type of one tensor. `position`: running index among value-like tensors, or the layer for feed-forward ones."""
    base = BASE_TYPES[mix]
    if base in {"F32", "F16", "BF16"}:
        return base
    category = _category(group.role)
    if category == "output" or (facts.tied and category == "embedding"):
        chosen = _output_type(group, mix, base, facts)
    elif mix == "MXFP4_MOE":
        chosen = "MXFP4" if len(group.shape) == 3 and group.shape[2] > 1 else "Q8_0"
    elif category == "embedding":
        chosen = _embedding_type(mix, base)
    elif mix in _LOW_BIT:
        chosen = _low_bit_type(category, mix, base, facts, position)
    elif category == "value":
        chosen = _value_type(mix, base, facts, position, imatrix)
    elif category == "ffn_down":
        chosen = _down_type(mix, base, facts, position, imatrix)
    else:
        chosen = _other_type(category, mix, base, facts, layer)
    return _fallback(chosen, group.shape[0])


def _output_type(group: TensorGroup, mix: str, base: str, facts: MixFacts) -> str:
    block = gguf_types()[base]["block_elements"]
    if mix == "MXFP4_MOE" or facts.architecture == "falcon" or group.shape[0] % block:
        return "Q8_0"
    if mix in _LOW_BIT or mix == "IQ3_XXS":
        return "Q5_K"
    return "Q8_0" if base == "Q8_0" else "Q6_K"


def _embedding_type(mix: str, base: str) -> str:
    if mix in {"IQ1_S", "IQ1_M", "IQ2_XXS", "IQ2_XS"}:
        return "Q2_K"
    if mix in {"IQ2_S", "IQ2_M", "IQ3_XXS"}:
        return "IQ3_S"
    return "Q4_K" if mix in {"TQ1_0", "TQ2_0", "Q2_0"} else base


def _low_bit_type(category: str, mix: str, base: str, facts: MixFacts, position: int) -> str:
    wider = mix in _WIDER_LOW_BIT
    if category == "value":
        return "Q4_K" if facts.gqa >= 4 or facts.expert_count >= 4 else "IQ3_S" if wider else "Q2_K"
    if category == "attn_k" and facts.expert_count == 8:
        return "Q4_K"
    if category == "ffn_down" and position < facts.layer_count // 8:
        return "IQ3_S" if wider else "Q2_K"
    if category == "attn_output":
        if facts.expert_count == 8:
            return "Q5_K"
        return {"IQ1_S": "IQ2_XXS", "IQ1_M": "IQ2_XXS", "IQ2_S": "IQ3_S", "IQ2_M": "IQ3_S"}.get(mix, base)
    return base


def _value_type(mix: str, base: str, facts: MixFacts, position: int, imatrix: bool) -> str:
    wide = facts.gqa >= 4
    chosen = base
    if mix == "Q2_K":
        chosen = "Q4_K" if wide else "Q3_K"
    elif mix in {"Q2_K_S", "IQ3_XS", "IQ3_S"} and wide:
        chosen = "Q4_K"
    elif mix == "IQ3_XXS":
        chosen = "Q4_K" if wide else "IQ3_XXS" if imatrix else "IQ3_S"
    elif mix == "IQ3_M":
        chosen = "Q4_K"
    elif mix == "Q3_K_M":
        chosen = "Q5_K" if position < 2 else "Q4_K"
    elif mix == "Q3_K_L" or (mix in {"IQ4_NL", "IQ4_XS"} and wide):
        chosen = "Q5_K"
    elif mix in {"Q4_K_M", "Q5_K_M"} and _more_bits(position, len(facts.value_layers)):
        chosen = "Q6_K"
    elif mix == "Q4_K_S" and position < 4:
        chosen = "Q5_K"
    if facts.is_70b and chosen in {"Q3_K", "Q4_K"}:
        chosen = "Q5_K"
    return "Q8_0" if facts.expert_count == 8 else chosen


def _down_type(mix: str, base: str, facts: MixFacts, layer: int, imatrix: bool) -> str:
    count, falcon = facts.layer_count, facts.architecture == "falcon"
    first, more = layer < count // 8, _more_bits(layer, count)
    match mix:
        case "Q2_K":
            return "Q3_K"
        case "Q2_K_S" if first:
            return "Q4_K"
        case "IQ3_XXS" if not imatrix:
            return "Q4_K" if first else "Q3_K"
        case "Q3_K_M":
            return "Q5_K" if layer < count // 16 else "Q4_K" if not falcon or more else "Q3_K"
        case "IQ3_M" if first or (facts.expert_count == 8 and more):
            return "Q4_K"
        case "Q3_K_L":
            return "Q4_K" if falcon else "Q5_K"
        case "Q4_K_M" if falcon:
            return "Q6_K" if layer < count // 16 else "Q5_K" if more else "Q4_K"
        case "Q4_K_M" | "Q5_K_M" if more:
            return "Q6_K"
        case "IQ4_NL" | "IQ4_XS" if first and not imatrix:
            return "Q5_K"
        case "Q4_K_S" if first and not falcon:
            return "Q5_K"
        case "Q4_0" | "Q5_0" if first and imatrix:
            return "Q4_1" if mix == "Q4_0" else "Q5_1"
        case _:
            return base


def _other_type(category: str, mix: str, base: str, facts: MixFacts, layer: int) -> str:
    if category == "attn_k" and facts.expert_count == 8:
        return "Q8_0"
    if category in {"attn_k", "attn_q"}:
        return {"IQ3_XS": "IQ3_XXS", "IQ3_XXS": "IQ2_S"}.get(mix, base)
    if category == "attn_output":
        if facts.architecture == "falcon":
            return "Q4_K" if mix == "Q3_K_L" else base
        if facts.expert_count == 8:
            return "Q5_K" if mix in _EIGHT_EXPERT_OUTPUT else base
        return {"Q2_K": "Q3_K", "IQ3_XXS": "IQ3_S", "Q3_K_M": "Q4_K", "Q3_K_L": "Q5_K", "IQ3_M": "Q4_K"}.get(mix, base)
    if category in {"ffn_gate", "ffn_up"} and mix == "IQ3_XS":
        count = facts.layer_count
        return "IQ3_XXS" if count // 8 <= layer < 7 * count // 8 else base
    return base


def _fallback(chosen: str, row_length: int) -> str:
    """A type whose block does not divide the row gives way to one of 32 elements, then to F16."""
    types = gguf_types()
    if row_length % types[chosen]["block_elements"] == 0:
        return chosen
    other = types[chosen]["fallback_when_row_not_divisible"]
    return other if other and row_length % types[other]["block_elements"] == 0 else "F16"


def type_bytes(type_name: str, elements: int) -> int:
    """Bytes of `elements` weights in whole blocks."""
    row = gguf_types()[type_name]
    return int(elements // row["block_elements"] * row["block_bytes"])


@lru_cache(maxsize=256)
def typed_tensors(model: LanguageModel, mix: str, imatrix: bool = False) -> tuple[TypedTensor, ...]:
    """All tensors of the file of this mix. Raises FactMissing for a name that does not determine the types."""
    if is_gguf_file(model):
        return tuple(_stored(group) for group in model.tensors if group.part == "text")
    name = mix.upper()
    if name not in BASE_TYPES:
        raise FactMissing(f"the tensor types of {mix}, a publisher's recipe", "the header of the GGUF file")
    groups = gguf_tensors(model)
    facts = mix_facts(model, groups)
    return tuple(tensor for group in groups for tensor in _typed(group, name, facts, imatrix))


def is_gguf_file(model: LanguageModel) -> bool:
    """Whether the tensor table comes from a file's header."""
    return model.checkpoint is not None and model.checkpoint.weight_format.startswith("gguf:")


def _stored(group: TensorGroup) -> TypedTensor:
    if group.stored_type is None or group.stored_bytes is None:
        raise FactMissing(f"the stored type of {group.role}", "the header of the GGUF file")
    return TypedTensor(
        role=group.role, type=group.stored_type, bytes_each=group.stored_bytes, layers=group.layers, shape=group.shape
    )


def _typed(group: TensorGroup, mix: str, facts: MixFacts, imatrix: bool) -> Iterator[TypedTensor]:
    if not is_quantizable(group):
        kind = unquantized_type(group)
        kind = kind if kind != "F16" or mix not in {"F32", "BF16"} else mix
        yield TypedTensor(
            role=group.role,
            type=kind,
            bytes_each=type_bytes(kind, group.elements_each),
            layers=group.layers,
            shape=group.shape,
        )
        return
    by_type: dict[str, list[int]] = {}
    for layer in group.layers or (-1,):
        by_type.setdefault(
            tensor_type(group, mix, facts, _position(group, mix, facts, layer), layer, imatrix), []
        ).append(layer)
    for kind, layers in by_type.items():
        where = () if layers == [-1] else tuple(layers)
        yield TypedTensor(
            role=group.role,
            type=kind,
            bytes_each=type_bytes(kind, group.elements_each),
            layers=where,
            shape=group.shape,
        )


def _position(group: TensorGroup, mix: str, facts: MixFacts, layer: int) -> int:
    """Index that the rules compare: among value-like tensors, or of the layer.

    Low-bit mixes of expert models count every ffn_down tensor instead of layers (shared experts count too); a
    dense model's running index is its layer.
    """
    if _category(group.role) == "value" and layer in facts.value_layers:
        return facts.value_layers.index(layer)
    return layer


def gguf_weight_bytes(model: LanguageModel, mix: str, imatrix: bool = False) -> int:
    """Bytes of all tensors of the file; the header with metadata and vocabulary comes on top (5-15 MB)."""
    return sum(tensor.total_bytes for tensor in typed_tensors(model, mix, imatrix))
