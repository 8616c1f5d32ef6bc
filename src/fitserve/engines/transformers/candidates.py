"""Formats worth trying for a model with Transformers, and the ways to spread it."""

from fitserve.engines.contract import Candidate
from fitserve.engines.offers import checkpoint_candidates
from fitserve.engines.transformers.rules import feature
from fitserve.hardware.types import Machine
from fitserve.models.types import LanguageModel

_ON_LOAD = ("bnb-8bit", "bnb-4bit")


def candidates(model: LanguageModel, machine: Machine, version: str) -> tuple[Candidate, ...]:
    """The model as it is, published repositories, and what bitsandbytes makes on loading."""
    del machine, version
    return checkpoint_candidates(model, _ON_LOAD, _ON_LOAD, frozenset(feature("formats")))


def splits(model: LanguageModel, machine: Machine, version: str) -> tuple[tuple[int, int], ...]:
    """One device, or whole layers over all of them; (1, n) stands for n devices."""
    del model, version
    count = max(1, len(machine.devices))
    return ((1, 1), (1, count)) if count > 1 else ((1, 1),)
