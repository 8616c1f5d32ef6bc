"""Formats worth trying for a model on SGLang, and the ways to split it."""

from fitserve.engines.contract import Candidate
from fitserve.engines.offers import checkpoint_candidates
from fitserve.engines.sglang.rules import FACTS
from fitserve.engines.shapes import clean_splits
from fitserve.hardware.types import Machine
from fitserve.models.types import LanguageModel

# One format per kind of kernel, to be made or found by the user when the catalogue knows no repository of it.
_UNPUBLISHED = ("fp8", "awq-4bit", "gptq-4bit", "w4a16")


def candidates(model: LanguageModel, machine: Machine, version: str) -> tuple[Candidate, ...]:
    """The model as it is, its published repositories, FP8 made on loading, and formats still to be made."""
    del machine, version
    loads = set(FACTS.value("methods_of_format"))
    return checkpoint_candidates(model, _UNPUBLISHED, FACTS.table["runtime_quantization"], loads)


def splits(model: LanguageModel, machine: Machine, version: str) -> tuple[tuple[int, int], ...]:
    """(tensor, pipeline) parallel sizes over up to all devices: tensor parallel where it divides."""
    del version
    return clean_splits(model, machine)
