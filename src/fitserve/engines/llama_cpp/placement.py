"""Which layer lives where: the last layers on GPUs, split over them by memory, experts or whole layers left in RAM.

llama.cpp v0.5.0 src/llama-model.cpp load_tensors: layer n_layer is the output; -ngl N puts the last N of n_layer + 1 on
GPUs; device of a layer = upper bound of its position in the cumulative split. The input embedding stays on the CPU.
"""

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

HOST = -1


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Device of every layer (HOST is RAM), of the output layer, and of the experts of every layer."""

    layers: tuple[int, ...]
    output: int
    experts: tuple[int, ...]

    @property
    def by_device(self) -> dict[int, tuple[int, ...]]:
        """Layers of each place, the output layer not counted."""
        return {place: tuple(i for i, at in enumerate(self.layers) if at == place) for place in set(self.layers)}

    @property
    def gpu_layers(self) -> int:
        """What -ngl counts: layers on GPUs, the output layer included."""
        return sum(1 for device in (*self.layers, self.output) if device != HOST)

    @property
    def host_expert_layers(self) -> int:
        """What --n-cpu-moe counts: layers whose experts stay in RAM although the layer does not."""
        return sum(1 for layer, expert in zip(self.layers, self.experts, strict=True) if expert == HOST != layer)


def place(layer_count: int, gpu_layers: int, split: Sequence[float], host_experts: int = 0) -> Placement:
    """Placement for -ngl `gpu_layers` over devices weighted by `split`; experts of the first `host_experts` layers in RAM."""
    if not split or gpu_layers <= 0:
        return Placement(layers=(HOST,) * layer_count, output=HOST, experts=(HOST,) * layer_count)
    active = min(gpu_layers, layer_count + 1)
    first = layer_count + 1 - active
    total = sum(split)
    bounds = [value / total for value in accumulate(split)]
    devices = [
        HOST if index < first else min(bisect_right(bounds, (index - first) / active), len(split) - 1)
        for index in range(layer_count + 1)
    ]
    experts = tuple(HOST if index < host_experts else device for index, device in enumerate(devices[:layer_count]))
    return Placement(layers=tuple(devices[:layer_count]), output=devices[layer_count], experts=experts)
