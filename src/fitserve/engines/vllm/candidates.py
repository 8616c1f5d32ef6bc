"""Formats that vLLM could serve a model in, and the ways to spread it over a machine."""

from fitserve.engines.contract import Candidate
from fitserve.engines.vllm.rules import facts
from fitserve.hardware.types import Machine
from fitserve.models.catalog.lookup import quantized_repositories
from fitserve.models.formats import parse_format
from fitserve.models.types import Attention, LanguageModel, LatentAttention

# One format per kind of kernel that has no published repository in the catalogue: to be made or found by the user.
_UNPUBLISHED = ("fp8", "awq-4bit", "gptq-4bit", "w4a16", "gptq-8bit")
_PLAIN = {"f32": "bf16"}


def candidates(model: LanguageModel, machine: Machine, version: str) -> tuple[Candidate, ...]:
    """The model as it is, its published quantized repositories, formats made on loading, and formats still to be made."""
    del machine, version
    if model.checkpoint is not None:
        return (Candidate(weight_format=parse_format(model.checkpoint.weight_format)),)
    found = [Candidate(weight_format=parse_format(_PLAIN.get(model.dtype, model.dtype)))]
    seen = {found[0].weight_format.name}
    for repository, name in quantized_repositories(model.id):
        if name not in seen:
            found.append(Candidate(weight_format=parse_format(name), repository=repository))
            seen.add(name)
    for name in _UNPUBLISHED:
        if name not in seen:
            found.append(
                Candidate(
                    weight_format=parse_format(name), needs_quantizing=name not in facts()["runtime_quantization"]
                )
            )
    return tuple(found)


def splits(model: LanguageModel, machine: Machine, version: str) -> tuple[tuple[int, int], ...]:
    """(tensor, pipeline) parallel sizes over up to all devices: tensor parallel where heads divide, else pipeline."""
    del version
    count = len(machine.devices)
    heads = [
        m.query_heads for layer in model.layers for m in layer.mixers if isinstance(m, Attention | LatentAttention)
    ]
    sizes: list[tuple[int, int]] = []
    for size in range(1, count + 1):
        if count % size and size != 1:
            continue
        if all(number % size == 0 for number in heads):
            sizes.append((size, 1))
        if size > 1:
            sizes.append((1, size))
    return tuple(sizes) or ((1, 1),)
