"""Formats worth trying for a model on vLLM, the repositories that hold them, and the ways to split it."""

from fitserve.engines.contract import Candidate
from fitserve.engines.offers import checkpoint_candidates, tensor_splits
from fitserve.engines.vllm.rules import facts
from fitserve.hardware.types import Machine
from fitserve.models.types import LanguageModel

# One format per kind of kernel that has no published repository in the catalogue: to be made or found by the user.
_UNPUBLISHED = ("fp8", "awq-4bit", "gptq-4bit", "w4a16", "gptq-8bit")


def candidates(model: LanguageModel, machine: Machine, version: str) -> tuple[Candidate, ...]:
    """The model as it is, its published quantized repositories, formats made on loading, and formats still to be made."""
    del machine, version
    return checkpoint_candidates(model, _UNPUBLISHED, facts()["runtime_quantization"])


def splits(model: LanguageModel, machine: Machine, version: str) -> tuple[tuple[int, int], ...]:
    """(tensor, pipeline) parallel sizes over up to all devices: tensor parallel where heads divide, else pipeline."""
    del version
    return tensor_splits(model, machine)
