"""Formats worth trying for a model on TGI, and the ways to split it."""

from fitserve.engines.contract import Candidate
from fitserve.engines.offers import checkpoint_candidates, tensor_splits
from fitserve.engines.tgi.rules import feature
from fitserve.hardware.types import Machine
from fitserve.models.types import LanguageModel


def candidates(model: LanguageModel, machine: Machine, version: str) -> tuple[Candidate, ...]:
    """The model as it is, its published repositories, formats made on loading, and AWQ still to be made."""
    del machine, version
    formats = feature("formats")
    made = [name for name, value in formats.items() if value]
    return checkpoint_candidates(model, (*made, "awq-4bit"), made, frozenset(formats))


def splits(model: LanguageModel, machine: Machine, version: str) -> tuple[tuple[int, int], ...]:
    """Tensor parallel sizes; TGI has no pipeline."""
    del version
    return tensor_splits(model, machine, pipelines=False)
