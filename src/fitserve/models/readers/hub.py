"""A model from the Hugging Face hub or any URL: config and headers by range requests, no weights.

Environment, as huggingface_hub reads it: HF_ENDPOINT, HF_TOKEN, HF_HUB_OFFLINE.
"""

import os
import re
import socket
import threading
import urllib.parse
from contextlib import AbstractContextManager, closing
from dataclasses import dataclass
from typing import Any

from fitserve.foundation.errors import InputError
from fitserve.models.formats import parse_format
from fitserve.models.readers.byte_source import HttpSource, fetch, opened
from fitserve.models.readers.gguf_files import read_gguf
from fitserve.models.readers.repository import MOST_CONFIG_BYTES, model_of, parse_json_object
from fitserve.models.readers.safetensors_header import StoredTensor, read_safetensors_header
from fitserve.models.types import LanguageModel

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.\-]*/[\w.\-]+")
_MOST_LISTING_BYTES = 1 << 25
_MOST_SHARDS = 256
_REACH_S = 0.6


def endpoint() -> str:
    """Address of the hub."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def _headers() -> dict[str, str]:
    token = os.environ.get("HF_TOKEN", "").strip()
    return {"Authorization": f"Bearer {token}"} if token else {}


def is_repository(text: str) -> bool:
    """Whether a text has the form owner/name."""
    return bool(_REPOSITORY.fullmatch(text))


def is_reachable() -> bool:
    """Whether the hub answers within a moment; False when offline mode is on."""
    if os.environ.get("HF_HUB_OFFLINE", "").strip().lower() in {"1", "true", "yes", "on"}:
        return False
    parts = urllib.parse.urlsplit(endpoint())
    answered: list[bool] = []

    def connect() -> None:
        try:
            port = parts.port or (443 if parts.scheme == "https" else 80)
            socket.create_connection((parts.hostname or "", port), timeout=_REACH_S).close()
            answered.append(True)
        except OSError:
            answered.append(False)

    # name resolution has no timeout of its own, so it runs beside and is left behind when it takes too long
    worker = threading.Thread(target=connect, daemon=True)
    worker.start()
    worker.join(_REACH_S)
    return bool(answered and answered[0])


def open_url(url: str) -> HttpSource:
    """A URL; the token goes to the hub only."""
    same = urllib.parse.urlsplit(url).netloc == urllib.parse.urlsplit(endpoint()).netloc
    return HttpSource(url, _headers() if same else {})


def read_url(url: str) -> LanguageModel:
    """A GGUF file by URL. Raises InputError for another kind of file."""
    path = urllib.parse.urlsplit(url).path.lower()
    if path.endswith(".gguf"):
        return read_gguf(url, open_url)
    found = re.fullmatch(rf"{re.escape(endpoint())}/([^/]+/[^/]+?)(?:/(?:tree|blob|resolve)/.*)?/?", url)
    if found:
        return read_repository(found[1])
    raise InputError.of("file_missing", where=url, detail="neither a .gguf file nor a repository of the hub")


def read_repository(text: str) -> LanguageModel:
    """`owner/name`, or `owner/name:Q4_K_M` for one GGUF file of a repository.

    Raises InputError (no such repository or file) and ReadFailed (network, gated).
    """
    repository, _, mix = text.partition(":")
    if not is_repository(repository):
        raise InputError.of("file_missing", where=text, detail="not of the form owner/name")
    files = _files(repository)
    if "config.json" in files and not mix:
        return _from_config(repository, files)
    return _from_gguf(repository, files, mix)


def _address(repository: str, file: str) -> str:
    return f"{endpoint()}/{repository}/resolve/main/{urllib.parse.quote(file)}"


def _files(repository: str) -> list[str]:
    return [str(item.get("rfilename")) for item in _siblings(repository, "")]


def _siblings(repository: str, query: str) -> list[dict[str, Any]]:
    body, _ = fetch(f"{endpoint()}/api/models/{repository}{query}", _headers(), _MOST_LISTING_BYTES)
    listed = parse_json_object(body, repository).get("siblings")
    return [item for item in listed if isinstance(item, dict)] if isinstance(listed, list) else []


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """A file of a repository. `sha256`: of its content, None where the hub does not tell."""

    repository: str
    name: str
    size_bytes: int
    sha256: str | None


def hub_files(repository: str) -> tuple[HubFile, ...]:
    """The files of a repository with their sizes; empty when there is no such repository. Raises ReadFailed."""
    try:
        rows = _siblings(repository, "?blobs=true")
    except InputError:
        return ()
    found = []
    for row in rows:
        stored = row.get("lfs") if isinstance(row.get("lfs"), dict) else {}
        size, digest = row.get("size"), (stored or {}).get("sha256")
        if isinstance(size, int):
            name = str(row.get("rfilename"))
            found.append(HubFile(repository=repository, name=name, size_bytes=size, sha256=digest and str(digest)))
    return tuple(found)


def opened_file(file: HubFile, offset: int) -> AbstractContextManager[Any]:
    """The content from a byte on, as the server gives it: a 206 begins there, a 200 at the beginning."""
    wanted = {"Range": f"bytes={offset}-"} if offset else {}
    return opened(_address(file.repository, file.name), {**_headers(), **wanted})


def _from_config(repository: str, files: list[str]) -> LanguageModel:
    address = _address(repository, "config.json")
    config = dict(parse_json_object(fetch(address, _headers(), MOST_CONFIG_BYTES)[0], address))
    if "quantization_config" not in config and "hf_quant_config.json" in files:
        extra, _ = fetch(_address(repository, "hf_quant_config.json"), _headers(), MOST_CONFIG_BYTES)
        content = parse_json_object(extra, repository).get("quantization")
        config["quantization_config"] = {"quant_method": "modelopt", **(content if isinstance(content, dict) else {})}
    return model_of(config, repository, address, _shards(repository, files), is_local=False)


def _shards(repository: str, files: list[str]) -> list[StoredTensor] | None:
    shards = [f for f in files if f.endswith(".safetensors") and "/" not in f and not f.startswith("consolidated")]
    if not shards or len(shards) > _MOST_SHARDS:
        return None
    tensors: list[StoredTensor] = []
    for shard in shards:
        with closing(open_url(_address(repository, shard))) as source:
            tensors += read_safetensors_header(source)
    return tensors


def _from_gguf(repository: str, files: list[str], mix: str) -> LanguageModel:
    models = [f for f in files if f.lower().endswith(".gguf") and "mmproj" not in f.lower()]
    firsts = [f for f in models if "-of-" not in f or "-00001-of-" in f]
    wanted = parse_format(mix).gguf_mix if mix else None
    chosen = [
        f for f in firsts if wanted is None or re.search(rf"(?<![A-Z0-9_]){re.escape(wanted)}(?![A-Z0-9_])", f.upper())
    ]
    if len(chosen) == 1:
        return read_gguf(_address(repository, chosen[0]), open_url)
    if not models:
        raise InputError.of("folder_without_config", where=repository)
    raise InputError.of("several_gguf_files", where=repository, files=tuple((chosen or firsts)[:12]))
