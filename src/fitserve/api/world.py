"""The outside as a server sees it: model names are names of the catalogue, never paths or addresses.

What a request names must not make this machine open its own files or call other machines, so the reader of the command
line is not used. `allow_hub` adds repositories of the Hugging Face hub, by `hf:owner/name` only.
"""

import re
from dataclasses import replace
from functools import lru_cache

from fitserve.foundation.errors import InputError
from fitserve.foundation.reasons import note
from fitserve.hardware.types import Machine
from fitserve.models.catalog.lookup import catalog_model
from fitserve.models.names import ResolvedName, resolve_name
from fitserve.plan.here import measured_of
from fitserve.plan.world import ModelRead, World
from fitserve.predict.correction import Measured

_LONGEST_NAME = 200
_HUB_NAME = re.compile(r"hf:[A-Za-z0-9][\w.\-]{0,95}/[A-Za-z0-9][\w.\-]{0,95}")
_FILES = (".gguf", ".json", ".safetensors", ".bin", ".pt")


def closed_world(allow_hub: bool = False) -> World:
    """A world without files and addresses; its hardware is the catalogue and this machine."""
    return World(read_model=_read_or_hub if allow_hub else _read_named, this_machine=_this_machine, measured=_measured)


def _read_named(text: str) -> ModelRead:
    name = text.strip()
    if not _is_name(name):
        raise InputError.of("model_name_only", given=name[:120])
    return _of_catalogue(name, resolve_name(name))


def _read_or_hub(text: str) -> ModelRead:
    name = text.strip()
    if not name.startswith("hf:"):
        return _read_named(name)
    if not _HUB_NAME.fullmatch(name) or ".." in name:
        raise InputError.of("model_name_only", given=name[:120])
    from fitserve.models.readers.hub import read_repository  # the HTTP client is only needed where the hub is allowed

    model = read_repository(name.removeprefix("hf:"))
    fixed = model.checkpoint.weight_format if model.checkpoint is not None else None
    return ModelRead(model=model, weight_format=fixed, is_file=True)


def _is_name(name: str) -> bool:
    """Not something that could be a path, a drive, a share or an address."""
    return (
        0 < len(name) <= _LONGEST_NAME
        and not name.startswith(("/", ".", "~", "\\", "hf:"))
        and "://" not in name
        and "\\" not in name
        and ".." not in name
        and not name.lower().endswith(_FILES)
        and name.count("/") <= 1
    )


def _of_catalogue(name: str, found: ResolvedName) -> ModelRead:
    model = catalog_model(found.id)
    notes = [note("part_unaccounted", part=part) for part in model.unaccounted]
    if found.variant_of:
        notes.append(note("layout_of_base", given=name, model=found.id))
        return ModelRead(model=replace(model, id=name), weight_format=found.weight_format, notes=tuple(notes))
    repository = name if found.weight_format is not None and "/" in name else None
    return ModelRead(model=model, weight_format=found.weight_format, repository=repository, notes=tuple(notes))


@lru_cache(maxsize=1)
def _this_machine() -> Machine:
    from fitserve.hardware.probe.machine import this_machine  # drivers are looked at only when somebody asks

    return this_machine()


def _measured() -> tuple[Measured, ...]:
    """Load tests of this machine that the ledger keeps; none when there is no ledger yet."""
    from fitserve.ledger.store import Ledger

    ledger = Ledger()
    return tuple(measured_of(form) for form in ledger.corrections().values()) if ledger.path.exists() else ()
