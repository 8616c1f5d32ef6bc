"""What an engine could try for a model: published checkpoints, formats made on loading, and ways to spread it."""

from collections.abc import Collection, Sequence

from fitserve.engines.contract import Candidate
from fitserve.hardware.types import Machine
from fitserve.models.catalog.lookup import quantized_repositories
from fitserve.models.formats import parse_format
from fitserve.models.types import Attention, LanguageModel, LatentAttention

_PLAIN = {"f32": "bf16"}  # float32 checkpoints are cast to 16 bit while they load


def checkpoint_candidates(
    model: LanguageModel,
    to_make: Sequence[str] = (),
    on_load: Collection[str] = (),
    loads: Collection[str] | None = None,
) -> tuple[Candidate, ...]:
    """The model as it is, its published repositories in formats that the engine `loads`, and formats still to be made.

    `to_make`: formats to offer without a published repository; those in `on_load` are quantized while loading.
    """
    if model.checkpoint is not None:
        return (Candidate(weight_format=parse_format(model.checkpoint.weight_format)),)
    found = [Candidate(weight_format=parse_format(_PLAIN.get(model.dtype, model.dtype)))]
    seen = {found[0].weight_format.name}
    for repository, name in quantized_repositories(model.id):
        if name not in seen and (loads is None or name in loads):
            found.append(Candidate(weight_format=parse_format(name), repository=repository))
            seen.add(name)
    for name in to_make:
        if name not in seen:
            found.append(Candidate(weight_format=parse_format(name), needs_quantizing=name not in on_load))
    return tuple(found)


def tensor_splits(model: LanguageModel, machine: Machine, pipelines: bool = True) -> tuple[tuple[int, int], ...]:
    """(tensor, pipeline) parallel sizes over up to all devices: tensor parallel where heads divide, else pipeline."""
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
        if size > 1 and pipelines:
            sizes.append((1, size))
    return tuple(sizes) or ((1, 1),)


def width_candidates(model: LanguageModel, family: str, widths: Sequence[str]) -> tuple[Candidate, ...]:
    """Formats of a family that takes any width: the checkpoint's own, published repositories, else `widths` still to be made.

    Nothing for a repository that is quantized another way: its original is what such files are made from.
    """
    own = model.checkpoint
    if own is not None and own.weight_format.split(":")[0] == family:
        return (Candidate(weight_format=parse_format(own.weight_format)),)
    if own is not None and model.base_id is not None:
        return ()
    published = [
        Candidate(weight_format=parse_format(name), repository=repository)
        for repository, name in quantized_repositories(model.id)
        if name.split(":")[0] == family
    ]
    seen = {candidate.weight_format.bits for candidate in published}
    made = [parse_format(f"{family}:{width}") for width in widths]
    return (*published, *(Candidate(weight_format=f, needs_quantizing=True) for f in made if f.bits not in seen))


def layer_splits(machine: Machine) -> tuple[tuple[int, int], ...]:
    """(1, n) stands for the layers over n devices: doublings and all of them."""
    count = max(1, len(machine.devices))
    sizes = {1 << power for power in range(count.bit_length()) if 1 << power <= count} | {count}
    return tuple((1, size) for size in sorted(sizes))
