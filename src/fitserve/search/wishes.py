"""What the user fixed; everything else is enumerated."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from fitserve.engines.contract import Engine, no_options
from fitserve.models.formats import WeightFormat
from fitserve.workload.types import NO_TARGETS, Targets


@dataclass(frozen=True, slots=True, kw_only=True)
class Wishes:
    """None and empty stand for: free. `offload` is no, auto, or a number of layers in RAM."""

    engines: tuple[tuple[Engine, str], ...]
    weight_format: WeightFormat | None = None
    repository: str | None = None
    """Repository that holds the weights in this format, when the user named one."""
    kv_format: str | None = None
    tp: int | None = None
    pp: int | None = None
    ep: int | None = None
    dp: int | None = None
    max_num_seqs: int | None = None
    offload: str | int = "no"
    options: Mapping[str, str] = field(default_factory=no_options)
    targets: Targets = NO_TARGETS
