"""GGUF mixes worth trying for a model, and the ways to spread it over a machine."""

from fitserve.engines.contract import Candidate
from fitserve.hardware.types import Machine
from fitserve.models.formats import parse_format
from fitserve.models.types import LanguageModel

# From the widest to the narrowest that people still use; below 3 bits quality falls fast (facts/quality.json).
_MIXES = ("BF16", "Q8_0", "Q6_K", "Q5_K_M", "Q4_K_M", "IQ4_XS", "Q3_K_M", "Q2_K", "IQ2_M", "IQ1_M")
_OF_MXFP4 = ("MXFP4_MOE",)
"""The converter keeps experts that were released in MXFP4, and llama-quantize does not quantize them a second time."""


def candidates(model: LanguageModel, machine: Machine, version: str) -> tuple[Candidate, ...]:
    """The file itself when it was read; else the usual mixes, which publishers make or llama-quantize makes."""
    del machine, version
    if model.checkpoint is not None and model.checkpoint.weight_format.startswith("gguf:"):
        return (Candidate(weight_format=parse_format(model.checkpoint.weight_format), repository=model.id),)
    if model.checkpoint is not None and model.base_id is not None:
        return ()  # a quantized repository is not converted: its original is
    is_mxfp4 = model.checkpoint is not None and model.checkpoint.weight_format == "mxfp4"
    names = _OF_MXFP4 if is_mxfp4 else _MIXES
    return tuple(Candidate(weight_format=parse_format(f"gguf:{name}")) for name in names)


def splits(model: LanguageModel, machine: Machine, version: str) -> tuple[tuple[int, int], ...]:
    """One device, or the layers over several: doublings and all of them; (1, n) stands for n devices."""
    del model, version
    count = max(1, len(machine.devices))
    sizes = {1 << power for power in range(count.bit_length()) if 1 << power <= count} | {count}
    return tuple((1, size) for size in sorted(sizes))
