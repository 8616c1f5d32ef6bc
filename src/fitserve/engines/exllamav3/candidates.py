"""Widths of EXL3 worth trying for a model, the repositories that hold one, and the ways to spread it."""

from fitserve.engines.contract import Candidate
from fitserve.engines.offers import layer_splits, width_candidates
from fitserve.hardware.types import Machine
from fitserve.models.types import LanguageModel

# What publishers make most, from nearly lossless down to where a smaller model is better; any other width works too.
_WIDTHS = ("8.0", "6.0", "5.0", "4.0", "3.5", "3.0", "2.5", "2.25")


def candidates(model: LanguageModel, machine: Machine, version: str) -> tuple[Candidate, ...]:
    """The checkpoint when it is EXL3; else published EXL3 repositories and the usual widths, which must be found or made."""
    del machine, version
    return width_candidates(model, "exl3", _WIDTHS)


def splits(model: LanguageModel, machine: Machine, version: str) -> tuple[tuple[int, int], ...]:
    """One device, or the layers over several; tensor parallelism when it is asked for."""
    del model, version
    return layer_splits(machine)
