"""Weights of formats whose width is an average over the decoder layers, with the head at a width of its own (EXL2, EXL3).

The input embedding stays in 16 bit. A model that ties embedding and head gets a quantized head all the same, because the
16-bit table lies elsewhere.
"""

from functools import lru_cache

from fitserve.footprint.weights import Sharding, kept_modules, quantizes, weight_bytes
from fitserve.foundation.units import ceil_div
from fitserve.models.formats import WeightFormat
from fitserve.models.types import LanguageModel, TensorGroup

_HALF_BYTES = 2
_NO_LAYERS = range(0)


@lru_cache(maxsize=256)
def layer_bytes(model: LanguageModel, weight_format: WeightFormat) -> tuple[int, ...]:
    """Bytes of every decoder layer."""
    return tuple(
        weight_bytes(
            model,
            weight_format,
            Sharding(layers=range(index, index + 1), first_stage=False, last_stage=False),
            parts=("text",),
        )
        for index in range(len(model.layers))
    )


@lru_cache(maxsize=256)
def expert_bytes(model: LanguageModel, weight_format: WeightFormat) -> tuple[int, ...]:
    """Bytes of the routed experts of every layer; zero where there are none."""
    sizes = [0] * len(model.layers)
    for group in model.tensors:
        if group.part == "text" and "_exps" in group.role:
            rows = group.elements_each // group.shape[0]
            size = weight_format.matrix_bytes(group.shape[0], rows) if weight_format.is_quantized else 0
            for layer in group.layers:
                sizes[layer] += size or group.elements_each * _HALF_BYTES
    return tuple(sizes)


@lru_cache(maxsize=256)
def sign_vector_bytes(model: LanguageModel, weight_format: WeightFormat) -> tuple[int, ...]:
    """Bytes of two 16-bit vectors a matrix, as long as its rows and its columns, for every layer."""
    sizes = [0] * len(model.layers)
    kept = kept_modules(model, weight_format)
    for group in model.tensors:
        if group.part == "text" and group.layers and quantizes(group, weight_format, kept):
            for layer in group.layers:
                sizes[layer] += _vectors(group)
    return tuple(sizes)


def _vectors(group: TensorGroup) -> int:
    count = group.shape[2] if len(group.shape) == 3 else 1
    return count * _HALF_BYTES * (group.shape[0] + group.shape[1])


def head_bytes(model: LanguageModel, weight_format: WeightFormat, bits: float) -> int:
    """Bytes of the output matrix at its own width, and of the last norm."""
    elements = model.vocab_size * model.hidden_size
    size = ceil_div(int(elements * bits), 8) if weight_format.is_quantized else elements * _HALF_BYTES
    return size + model.hidden_size * _HALF_BYTES


def embedding_bytes(model: LanguageModel) -> int:
    """Bytes of everything before the first layer, in 16 bit."""
    return sum(
        group.elements * _HALF_BYTES
        for group in model.tensors
        if group.part == "text" and not group.layers and group.role not in {"output.weight", "output_norm.weight"}
    )


@lru_cache(maxsize=256)
def largest_matrix_elements(model: LanguageModel) -> int:
    """Weights of the largest matrix of the layers; of one expert where experts are stacked."""
    return max(
        group.shape[0] * group.shape[1]
        for group in model.tensors
        if group.part == "text" and group.layers and len(group.shape) >= 2
    )
