"""Formats worth trying for a model on MLX."""

from fitserve.engines.contract import Candidate
from fitserve.engines.mlx.rules import feature
from fitserve.engines.offers import checkpoint_candidates
from fitserve.hardware.types import Machine
from fitserve.models.types import LanguageModel

# The widths that mlx-community publishes most; the catalogue lists none of its repositories yet.
_CONVERTED = ("mlx-8bit", "mlx-6bit", "mlx-5bit", "mlx-4bit", "mlx-3bit")


def candidates(model: LanguageModel, machine: Machine, version: str) -> tuple[Candidate, ...]:
    """The model as it is, published repositories that mlx-lm rewrites on loading, and what `mlx_lm.convert` makes."""
    del machine, version
    return checkpoint_candidates(model, _CONVERTED, loads=frozenset(feature("formats")))


def splits(model: LanguageModel, machine: Machine, version: str) -> tuple[tuple[int, int], ...]:
    """One device: several Macs need `mlx.launch`, which is not planned here."""
    del model, machine, version
    return ((1, 1),)
