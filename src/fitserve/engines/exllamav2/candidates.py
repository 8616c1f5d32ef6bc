"""Widths of EXL2 worth trying for a model, the repositories that hold one or a GPTQ file, and the ways to spread it."""

from fitserve.engines.contract import Candidate
from fitserve.engines.offers import layer_splits, width_candidates
from fitserve.hardware.types import Machine
from fitserve.models.catalog.lookup import quantized_repositories
from fitserve.models.formats import parse_format
from fitserve.models.types import LanguageModel

# What publishers made most, from nearly lossless down to where a smaller model is better; any other width works too.
_WIDTHS = ("8.0", "6.5", "5.0", "4.65", "4.25", "3.5", "3.0", "2.4")
_GPTQ = "gptq-4bit"


def candidates(model: LanguageModel, machine: Machine, version: str) -> tuple[Candidate, ...]:
    """The checkpoint when it is EXL2 or GPTQ; else published repositories of either, and EXL2 widths to find or make."""
    del machine, version
    own = model.checkpoint
    if own is not None and own.weight_format == _GPTQ:
        return (Candidate(weight_format=parse_format(_GPTQ)),)
    offered = width_candidates(model, "exl2", _WIDTHS)
    if not offered:
        return ()
    found = next((repository for repository, name in quantized_repositories(model.id) if name == _GPTQ), None)
    gptq = () if found is None else (Candidate(weight_format=parse_format(_GPTQ), repository=found),)
    return (*offered, *gptq)


def splits(model: LanguageModel, machine: Machine, version: str) -> tuple[tuple[int, int], ...]:
    """One device, or the layers over several; tensor parallelism when it is asked for."""
    del model, version
    return layer_splits(machine)
