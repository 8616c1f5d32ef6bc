"""Which catalogue row a GPU name means: ids, driver names, what people say; Apple machines with their memory."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from fitserve.foundation.errors import InputError
from fitserve.foundation.facts import load_json, load_toml
from fitserve.foundation.units import GIB
from fitserve.hardware.types import Accelerator

_NOISE = re.compile(
    r"nvidia|geforce|tesla|amd|radeon|graphics|intel\(r\)|intel|\(r\)|\(tm\)|apple|generation|edition", re.IGNORECASE
)
_APPLE_WITH_MEMORY = re.compile(
    r"(?P<chip>(?:apple-?)?m[1-9](?:-?(?:pro|max|ultra))?|i?mac(?:-?[a-z]+)*?)-?(?P<size>\d+)gb?"
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Identified:
    """A device, and what was assumed when the name fits several. `memory_stated`: the name says the memory, `M3 Max 64GB`."""

    device: Accelerator
    assumed: str | None = None
    memory_stated: bool = False


@lru_cache(maxsize=1)
def gpu_rows() -> Mapping[str, Mapping[str, Any]]:
    """Catalogue rows by id."""
    return {row["id"]: row for row in load_json("fitserve.hardware.catalog", "gpus.json")["rows"]}


@lru_cache(maxsize=1)
def _spoken() -> Mapping[str, Any]:
    return load_toml("fitserve.hardware.catalog", "spoken_names.toml")


@lru_cache(maxsize=256)
def device(gpu_id: str) -> Accelerator:
    """The accelerator of a catalogue id."""
    row = gpu_rows()[gpu_id]
    boards = row["devices_per_board"] or 1
    return Accelerator(
        id=gpu_id,
        vendor=row["vendor"],
        name=(row["names"] or row["short_names"] or [gpu_id])[0],
        memory_bytes=row["memory_bytes"] // boards,
        is_unified=bool(row["unified_memory"]),
        compute_capability=row["compute_capability"],
        gfx=row["gfx"],
        metal_family=row["metal_family"],
        bandwidth_bytes_per_s=row["bandwidth_bytes_per_s"],
        is_recalled="read" not in row["memory_kind"],
    )


def _key(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", text.lower())


def _stripped(text: str) -> str:
    return _key(_NOISE.sub(" ", text))


@lru_cache(maxsize=1)
def _names() -> Mapping[str, tuple[str, ...]]:
    """Every spelling to the ids it may mean."""
    table: dict[str, list[str]] = {}
    for gpu_id, row in gpu_rows().items():
        for name in [gpu_id, *row["names"], *row["short_names"]]:
            for key in {_key(name), _stripped(name)}:
                found = table.setdefault(key, [])
                if gpu_id not in found:
                    found.append(gpu_id)
        short = _stripped(gpu_id).removeprefix("rtx").removeprefix("gtx").removeprefix("rx")
        found = table.setdefault(short, [])
        if gpu_id not in found:
            found.append(gpu_id)
    return {key: tuple(ids) for key, ids in table.items()}


def identify(text: str, memory_bytes: int | None = None) -> Identified:
    """The device that `text` names; `memory_bytes`, as a driver prints it, decides between cards of one name.

    Raises InputError with near misses when no card has that name.
    """
    apple = _apple(text)
    if apple is not None:
        return apple
    key = _key(text)
    stripped = _stripped(text)
    if key in gpu_rows_by_key():
        return Identified(device=device(gpu_rows_by_key()[key]))
    ids = _names().get(key) or _names().get(stripped) or ()
    for name in (key, stripped):
        chosen = _spoken()["commonest"].get(name)
        if chosen and memory_bytes is None and len(set(ids)) != 1:
            return Identified(device=device(chosen), assumed=chosen)
    if not ids:
        raise InputError.of("unknown_gpu", given=text, near=tuple(near_gpus(text)))
    if len(ids) == 1:
        return Identified(device=device(ids[0]))
    if memory_bytes is not None:
        best = min(ids, key=lambda i: abs(gpu_rows()[i]["memory_bytes"] - memory_bytes))
        return Identified(device=device(best))
    return Identified(device=device(ids[0]), assumed=ids[0])


@lru_cache(maxsize=1)
def gpu_rows_by_key() -> Mapping[str, str]:
    """Catalogue ids by their letters and digits."""
    return {_key(gpu_id): gpu_id for gpu_id in gpu_rows()}


def _apple(text: str) -> Identified | None:
    match = _APPLE_WITH_MEMORY.fullmatch(text.strip().lower().replace(" ", "-").replace("gib", "gb"))
    if match is None:
        return None
    size = int(match["size"]) * GIB
    chip = _key(match["chip"]).removeprefix("apple")
    candidates = tuple(_spoken()["apple_machines"].get(chip, ())) or tuple(
        i for i in gpu_rows() if _key(i).removeprefix("apple").startswith(chip) and i.startswith("apple")
    )
    fitting = [i for i in candidates if gpu_rows()[i]["memory_bytes"] >= size] or list(candidates)
    if not fitting:
        raise InputError.of("unknown_gpu", given=text, near=tuple(near_gpus(text)))
    exact = [i for i in fitting if _key(i).removeprefix("apple") == chip]
    commonest = _spoken()["commonest"].get(chip)
    chosen = exact[0] if exact else commonest if commonest in fitting else fitting[0]
    assumed = None if exact else chosen
    return Identified(device=replace(device(chosen), memory_bytes=size), assumed=assumed, memory_stated=True)


def near_gpus(text: str, limit: int = 3) -> list[str]:
    """Ids whose names look like `text`."""
    close = difflib.get_close_matches(_stripped(text) or _key(text), list(_names()), n=limit * 2, cutoff=0.55)
    return list(dict.fromkeys(gpu_id for key in close for gpu_id in _names()[key]))[:limit]
