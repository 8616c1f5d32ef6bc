"""Which block lives where: what `device_map="auto"` makes of a `max_memory`.

transformers 5.23.0 integrations/accelerate.py: blocks go to devices in order; the first GPU and the RAM keep room for
the largest block that is still to come, so that an offloaded layer can be brought back. Before that, every GPU but the
last is limited to an equal share and a buffer, so that the layers are balanced. Checked against the real function in
tests/slow/test_real_parsers.py.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from fitserve.engines.transformers.rules import feature
from fitserve.footprint.weights import Sharding, weight_bytes
from fitserve.models.formats import WeightFormat
from fitserve.models.types import LanguageModel

RAM = -1
"""Place of a block that no device holds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """A part that is never cut: embeddings, a layer, or the head. `layer` is its number, None for the ends."""

    name: str
    bytes: int
    layer: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Split:
    """Place of every block, in order; `max_memory` is what the loader is told, in bytes by device."""

    blocks: tuple[Block, ...]
    places: tuple[int, ...]
    max_memory: tuple[int, ...]

    def held(self, place: int) -> tuple[Block, ...]:
        """Blocks at a place."""
        return tuple(block for block, where in zip(self.blocks, self.places, strict=True) if where == place)

    def layers(self, place: int) -> tuple[int, ...]:
        """Numbers of the layers at a place."""
        return tuple(block.layer for block in self.held(place) if block.layer is not None)

    def bytes_at(self, place: int) -> int:
        """Weights at a place."""
        return sum(block.bytes for block in self.held(place))

    @property
    def largest_in_ram(self) -> int:
        """The block that must fit on the first device whenever it runs."""
        return max((block.bytes for block in self.held(RAM)), default=0)


@lru_cache(maxsize=256)
def blocks_of(model: LanguageModel, weight_format: WeightFormat) -> tuple[Block, ...]:
    """The parts of a model in the order in which they are placed; tied embeddings hold the head."""

    def size(layers: range, first: bool, last: bool) -> int:
        return weight_bytes(model, weight_format, Sharding(layers=layers, first_stage=first, last_stage=last))

    count = len(model.layers)
    found = [Block(name="embeddings", bytes=size(range(0), True, False))]
    found += [Block(name=f"layer {i}", bytes=size(range(i, i + 1), False, False), layer=i) for i in range(count)]
    return (*found, Block(name="head", bytes=size(range(0), False, True)))


def fill(blocks: Sequence[Block], limits: Sequence[int]) -> tuple[int, ...]:
    """Places of the blocks in order; what no device holds goes to RAM."""
    places: list[int] = []
    device = used = 0
    for index, block in enumerate(blocks):
        largest = max((later.bytes for later in blocks[index + 1 :]), default=0)
        while device < len(limits):
            if used + block.bytes <= limits[device] - (largest if device == 0 else 0):
                break
            device, used = device + 1, 0
        used += block.bytes
        places.append(device if device < len(limits) else RAM)
    return tuple(places)


def balanced(blocks: Sequence[Block], free: Sequence[int]) -> tuple[int, ...]:
    """Limits by device: an equal share and a buffer for all but the last."""
    if len(free) < 2:
        return tuple(free)
    largest = max(block.bytes for block in blocks)
    share = sum(block.bytes for block in blocks) // len(free) + int(feature("balance_buffer") * largest)
    return (*(min(share, size) for size in free[:-1]), free[-1])


def spread(blocks: Sequence[Block], free: Sequence[int], quantizes: bool = False) -> Split:
    """What `device_map="auto"` makes of free memory; bitsandbytes leaves a tenth of it for its buffers."""
    limits = balanced(blocks, free)
    if quantizes:
        limits = tuple(int(size * feature("quantizing_share")) for size in limits)
    return Split(blocks=tuple(blocks), places=fill(blocks, limits), max_memory=tuple(free))


def with_layers_in_ram(blocks: Sequence[Block], layers_in_ram: int) -> Split:
    """The split of one device that leaves so many layers (and the head after them) in RAM, and the `max_memory` for it.

    A last layer with nothing after it (tied embeddings) cannot stay out alone: the room kept for it holds it.
    """
    count = sum(1 for block in blocks if block.layer is not None)
    kept = max(0, count - layers_in_ram)
    if layers_in_ram > count:
        return Split(blocks=tuple(blocks), places=(RAM,) * len(blocks), max_memory=(0,))
    last = max(
        (index for index, block in enumerate(blocks) if block.layer is not None and block.layer < kept), default=0
    )
    # between what the kept blocks need and what one more would: buffers of the real model must not move a block
    limit = (_need(blocks, last) + _need(blocks, last + 1)) // 2
    return Split(blocks=tuple(blocks), places=fill(blocks, (limit,)), max_memory=(limit,))


def _need(blocks: Sequence[Block], last: int) -> int:
    """Memory of one device for the blocks up to `last` and the largest that is still to come."""
    return sum(block.bytes for block in blocks[: last + 1]) + max(
        (block.bytes for block in blocks[last + 1 :]), default=0
    )
