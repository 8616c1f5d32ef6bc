"""Models by the names that logs and users give: the catalogue first, then whoever reads models."""

from dataclasses import replace

from fitserve.foundation.errors import FitserveError, InputError
from fitserve.foundation.paths import split_path
from fitserve.hardware.types import Host, Machine
from fitserve.models.catalog.lookup import catalog_model
from fitserve.models.names import format_in_name, resolve_name
from fitserve.plan.world import ModelRead, World

_PART = "-00001-of-"


def by_catalogue_first(world: World | None) -> World:
    """A world whose models come from the catalogue, else from `world`. Raises InputError for names that nobody knows."""

    def read(text: str) -> ModelRead:
        last = split_path(text)[1].removesuffix(".gguf").partition(_PART)[0]
        for name in dict.fromkeys((text, last)):
            try:
                return _named(name, text)
            except FitserveError:
                continue
        if world is None:
            raise InputError.of("unknown_model", given=text, near=())
        return world.read_model(text)

    return World(read_model=read, this_machine=lambda: Machine(devices=(), host=Host()))


def _named(name: str, text: str) -> ModelRead:
    found = resolve_name(name)
    model = catalog_model(found.id)
    weight_format = found.weight_format or (format_in_name(text) if text.lower().endswith(".gguf") else None)
    return ModelRead(model=replace(model, id=name) if found.variant_of else model, weight_format=weight_format)
