"""Formats worth trying on TensorRT-LLM: the model as it is, checkpoints that it reads, and what ModelOpt can make."""

from fitserve.engines.contract import Candidate
from fitserve.engines.offers import checkpoint_candidates
from fitserve.engines.shapes import clean_splits
from fitserve.engines.tensorrt_llm.rules import FACTS
from fitserve.hardware.types import Machine
from fitserve.models.catalog.lookup import quantized_repositories, rows
from fitserve.models.formats import parse_format
from fitserve.models.types import LanguageModel

_TO_MAKE = ("fp8", "nvfp4", "awq-4bit")


def candidates(model: LanguageModel, machine: Machine, version: str) -> tuple[Candidate, ...]:
    """The model, one published checkpoint of each format that can be read, and formats still to be made."""
    del machine, version
    found = list(checkpoint_candidates(model, (), (), ()))
    if model.checkpoint is not None:
        return tuple(found)
    seen = {candidate.weight_format.name for candidate in found}
    for repository, name in quantized_repositories(model.id):
        method = (rows()[repository]["config"].get("quantization_config") or {}).get("quant_method")
        readable = method in FACTS.value("read_methods") and name in FACTS.value("format_capabilities")
        if readable and name not in seen:
            found.append(Candidate(weight_format=parse_format(name), repository=repository))
            seen.add(name)
    found += [Candidate(weight_format=parse_format(n), needs_quantizing=True) for n in _TO_MAKE if n not in seen]
    return tuple(found)


def splits(model: LanguageModel, machine: Machine, version: str) -> tuple[tuple[int, int], ...]:
    """(tensor, pipeline) parallel sizes over up to all devices: tensor parallel where it divides."""
    del version
    return clean_splits(model, machine)
