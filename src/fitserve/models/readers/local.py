"""A model from this machine: a folder, a config.json, or a .gguf file."""

from contextlib import closing
from dataclasses import replace
from pathlib import Path

from fitserve.foundation.errors import InputError
from fitserve.models.readers.byte_source import FileSource
from fitserve.models.readers.gguf_files import open_file, read_gguf
from fitserve.models.readers.repository import MOST_CONFIG_BYTES, model_of, parse_json_object
from fitserve.models.readers.safetensors_header import StoredTensor, read_safetensors_header
from fitserve.models.types import LanguageModel

_MOST_SHARDS = 2048


def read_local(path: Path) -> LanguageModel:
    """The model at a path. Raises InputError when there is none or its files are broken."""
    if path.is_dir():
        return _read_folder(path)
    if path.suffix.lower() == ".gguf":
        return read_gguf(str(path), open_file)
    if path.suffix.lower() == ".safetensors":
        return _read_folder(path.parent)
    return _read_config(path, path, None)


def _read_folder(folder: Path) -> LanguageModel:
    config = folder / "config.json"
    if config.is_file():
        return _read_config(config, folder, _shards(folder))
    files = sorted(folder.glob("*.gguf"))
    firsts = [file for file in files if "-of-" not in file.name or "-00001-of-" in file.name]
    models = [file for file in firsts if not file.name.lower().startswith("mmproj")]
    if len(models) == 1:
        return read_gguf(str(models[0]), open_file)
    if len(models) > 1:
        raise InputError.of("several_gguf_files", where=str(folder), files=tuple(file.name for file in models[:8]))
    raise InputError.of("folder_without_config", where=str(folder))


def _read_config(config: Path, name: Path, shards: tuple[StoredTensor, ...] | None) -> LanguageModel:
    with closing(FileSource(config)) as source:
        if source.size > MOST_CONFIG_BYTES:
            raise InputError.of(
                "file_too_large", where=str(config), size_bytes=source.size, limit_bytes=MOST_CONFIG_BYTES
            )
        data = dict(parse_json_object(source.read(0, source.size), str(config)))
    extra = config.parent / "hf_quant_config.json"
    if "quantization_config" not in data and extra.is_file():
        with closing(FileSource(extra)) as source:
            content = parse_json_object(source.read(0, min(source.size, MOST_CONFIG_BYTES)), str(extra))
        data["quantization_config"] = {"quant_method": "modelopt", **dict(content.get("quantization") or {})}
    model = model_of(data, str(name), str(config), shards, is_local=True)
    return model if name.is_dir() else replace(model, id=str(config.parent if config.name == "config.json" else config))


def _shards(folder: Path) -> tuple[StoredTensor, ...] | None:
    """Tensors of all weight files; None without any. `consolidated` files are the same weights once more."""
    files = sorted(folder.glob("*.safetensors"))
    usual = [file for file in files if not file.name.startswith("consolidated")] or files
    if not usual:
        return None
    if len(usual) > _MOST_SHARDS:
        raise InputError.of("safetensors_broken", where=str(folder), detail=f"{len(usual):,} files")
    _check_complete(folder, {file.name for file in usual})
    tensors: list[StoredTensor] = []
    for file in usual:
        with closing(FileSource(file)) as source:
            tensors += read_safetensors_header(source)
    return tuple(tensors)


def _check_complete(folder: Path, names: set[str]) -> None:
    """The index names every shard; a missing one means an unfinished download."""
    index = folder / "model.safetensors.index.json"
    if not index.is_file():
        return
    with closing(FileSource(index)) as source:
        table = parse_json_object(source.read(0, min(source.size, 1 << 27)), str(index)).get("weight_map")
    wanted = {str(value) for value in table.values()} if isinstance(table, dict) else set()
    missing = sorted(wanted - names)
    if missing:
        raise InputError.of(
            "safetensors_broken", where=str(folder / missing[0]), detail="the index names it and it is not there"
        )
