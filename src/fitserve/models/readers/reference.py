"""What a user typed to a model: a path, a URL, a catalogue name, a name of the hub; the catalogue comes first."""

from dataclasses import dataclass, replace
from pathlib import Path

from fitserve.foundation.errors import InputError, ReadFailed
from fitserve.models.catalog.lookup import catalog_model
from fitserve.models.names import ResolvedName, resolve_name
from fitserve.models.types import LanguageModel


@dataclass(frozen=True, slots=True, kw_only=True)
class Reference:
    """A model, the format that its name states, the repository that was named, and where its layout comes from."""

    model: LanguageModel
    weight_format: str | None = None
    repository: str | None = None
    layout_of: str | None = None
    is_file: bool = False


def read_reference(text: str) -> Reference:
    """The model that `text` names. Raises InputError, FactMissing (unknown architecture) or ReadFailed."""
    name = text.strip()
    if name.startswith(("http://", "https://", "hf:")):
        return _file(_from_hub(name))
    if _is_path(name):
        from fitserve.models.readers.local import read_local  # the file readers cost start-up time

        return _file(read_local(Path(name).expanduser()))
    try:
        return _named(name, resolve_name(name))
    except InputError:
        found = _if_hub_knows(name)
        if found is None:
            raise
        return _file(found)


def _from_hub(name: str) -> LanguageModel:
    from fitserve.models.readers.hub import read_repository, read_url  # the HTTP client costs start-up time

    return read_repository(name.removeprefix("hf:")) if name.startswith("hf:") else read_url(name)


def _if_hub_knows(name: str) -> LanguageModel | None:
    """A repository of the hub that the catalogue lacks; None when the hub is out of reach or does not know it either."""
    from fitserve.models.readers.hub import is_reachable, is_repository, read_repository

    if not is_repository(name.partition(":")[0]) or not is_reachable():
        return None
    try:
        return read_repository(name)
    except (ReadFailed, InputError):
        return None  # the near misses of the catalogue help more than an HTTP status


def _is_path(name: str) -> bool:
    """Something that exists, or that can only be a path."""
    if not name:
        return False
    path = Path(name).expanduser()
    looks = name.startswith(("/", "./", "../", "~", ".\\", "..\\")) or name.lower().endswith(
        (".gguf", ".json", ".safetensors")
    )
    try:
        return (
            looks or (path.is_dir() and (path / "config.json").exists()) or (path.is_dir() and any(path.glob("*.gguf")))
        )
    except OSError:
        return False


def _file(model: LanguageModel) -> Reference:
    fixed = model.checkpoint.weight_format if model.checkpoint is not None else None
    return Reference(model=model, weight_format=fixed, is_file=True)


def _named(name: str, found: ResolvedName) -> Reference:
    model = catalog_model(found.id)
    if found.variant_of:
        return Reference(model=replace(model, id=name), weight_format=found.weight_format, layout_of=found.id)
    repository = name if found.weight_format is not None and "/" in name else None
    return Reference(model=model, weight_format=found.weight_format, repository=repository)
