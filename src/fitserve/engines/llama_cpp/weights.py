"""Weight bytes of every device for a placement, from the tensor table of the mix."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from fitserve.engines.llama_cpp.placement import HOST, Placement
from fitserve.engines.llama_cpp.rules import feature
from fitserve.footprint.gguf_mix import TypedTensor, is_gguf_file
from fitserve.footprint.gguf_recipes import is_stock, recipe_spread, recipe_tensors
from fitserve.foundation.errors import FactMissing
from fitserve.models.formats import WeightFormat
from fitserve.models.types import LanguageModel


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerWeights:
    """Bytes by layer: all tensors, and the experts among them; the input embedding and the output stand apart."""

    layers: tuple[int, ...]
    experts: tuple[int, ...]
    embedding: int
    output: int
    tied: bool
    repacked: int
    spread: float = 0.0

    @property
    def total(self) -> int:
        """Bytes of the file's tensors."""
        return sum(self.layers) + self.embedding + self.output


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceWeights:
    """Bytes on each device and in RAM."""

    devices: Mapping[int, int] = field(default_factory=dict)

    def on(self, device: int) -> int:
        """Bytes on one device; HOST is RAM."""
        return self.devices.get(device, 0)


@lru_cache(maxsize=4096)
def layer_weights(model: LanguageModel, weight_format: WeightFormat) -> LayerWeights:
    """Weights of a model in a GGUF format. Raises FactMissing when the format says nothing of the types."""
    if weight_format.family != "gguf" or weight_format.gguf_mix is None:
        raise FactMissing(f"GGUF tensors of {weight_format.name}", "a GGUF file")
    mix = weight_format.gguf_mix
    spread = 0.0 if is_stock(mix) or is_gguf_file(model) else recipe_spread(mix)[1]
    return _by_layer(model, recipe_tensors(model, mix), spread)


def _by_layer(model: LanguageModel, tensors: tuple[TypedTensor, ...], spread: float) -> LayerWeights:
    count = len(model.layers)
    layers, experts = [0] * count, [0] * count
    embedding = output = repacked = 0
    for tensor in tensors:
        if tensor.type in feature("repacked_types") and tensor.role != "token_embd.weight":
            repacked += tensor.total_bytes
        if not tensor.layers:
            if tensor.role in {"output.weight", "output_norm.weight", "output_norm.bias", "output.bias"}:
                output += tensor.bytes_each
            else:
                embedding += tensor.bytes_each
            continue
        for layer in tensor.layers:
            layers[layer] += tensor.bytes_each
            if "_exps" in tensor.role:
                experts[layer] += tensor.bytes_each
    tied = not any(tensor.role == "output.weight" for tensor in tensors)
    return LayerWeights(
        layers=tuple(layers),
        experts=tuple(experts),
        embedding=embedding,
        output=output,
        tied=tied,
        repacked=repacked,
        spread=spread,
    )


def embedding_matrix_bytes(model: LanguageModel, weight_format: WeightFormat) -> int:
    """Bytes of token_embd, which a tied model copies to the GPU as its output matrix."""
    tensors = recipe_tensors(model, weight_format.gguf_mix or "")
    return sum(tensor.total_bytes for tensor in tensors if tensor.role == "token_embd.weight")


def spread_weights(model: LanguageModel, weight_format: WeightFormat, placement: Placement) -> DeviceWeights:
    """Weights on each device. A tied output on a GPU is a copy of the embedding, which stays in RAM as well."""
    weights = layer_weights(model, weight_format)
    totals: dict[int, int] = {}
    for index, device in enumerate(placement.layers):
        expert_device = placement.experts[index]
        totals[device] = totals.get(device, 0) + weights.layers[index] - weights.experts[index]
        totals[expert_device] = totals.get(expert_device, 0) + weights.experts[index]
    output = weights.output
    if weights.tied and placement.output != HOST:
        output += embedding_matrix_bytes(model, weight_format)
    totals[placement.output] = totals.get(placement.output, 0) + output
    totals[HOST] = totals.get(HOST, 0) + weights.embedding
    return DeviceWeights(devices=totals)
