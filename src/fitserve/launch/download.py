"""A GGUF to a local file: one that is there, or one of the hub with resume, checksum and a look at the disk first."""

import hashlib
import http.client
import re
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO

from fitserve.engines.contract import Deployment
from fitserve.foundation.errors import InputError, ReadFailed, WorldError
from fitserve.ledger.places import cache_folder
from fitserve.models.readers.hub import HubFile, hub_files, opened_file

_SPARE_BYTES = 1 << 30
_CHUNK = 1 << 20
_SPLIT = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
_OTHER = re.compile(r"(^|/)(mmproj|imatrix)")
_SHA256_LETTERS = 64
_ATTEMPTS, _PAUSE_S = 5, 0.5
_PUBLISHERS = (
    "{owner}/{name}-GGUF",
    "bartowski/{name}-GGUF",
    "bartowski/{owner}_{name}-GGUF",
    "unsloth/{name}-GGUF",
    "ggml-org/{name}-GGUF",
)
"""Where GGUF files of a model are usually published; asked in this order."""

Tell = Callable[[str, int, int], None]
"""File name, bytes at hand, bytes in all."""


def fetch_gguf(deployment: Deployment, file: str, tell: Tell) -> Path:
    """The file of a deployment on this disk; the first part of one that is split.

    Raises InputError when nobody is known to publish it, ReadFailed when the hub does not answer, WorldError when the disk
    is too small or the content is not what the hub says.
    """
    path = Path(file).expanduser()
    if path.is_file():
        return path.absolute()
    if deployment.model.is_local:
        raise InputError.of("model_file_missing", where=str(path))
    repositories = _repositories(deployment)
    mix = str(deployment.weight_format.gguf_mix)
    for repository in repositories:
        files = files_of(repository, mix)
        if files:
            return fetch(files, tell)
    raise InputError.of("gguf_not_published", model=deployment.model.id, format=mix, asked=repositories)


def _repositories(deployment: Deployment) -> tuple[str, ...]:
    """The named one, else where files of this model are usually published."""
    if deployment.repository is not None and deployment.repository.count("/") == 1:
        return (deployment.repository,)
    owner, _, name = deployment.model.id.rpartition("/")
    return tuple(dict.fromkeys(text.format(owner=owner or name, name=name) for text in _PUBLISHERS))


def files_of(repository: str, mix: str) -> tuple[HubFile, ...]:
    """The files of a quantization mix, in order; empty when the repository has none, or is none."""
    word = re.compile(rf"(^|[-._/]){re.escape(mix)}(?=[-./]|$)", re.IGNORECASE)
    rows = [
        file for file in hub_files(repository)
        if file.name.lower().endswith(".gguf") and word.search(file.name) and not _OTHER.search(file.name.lower())
    ]  # fmt: skip
    rows.sort(key=lambda file: file.name)
    whole = [file for file in rows if not _SPLIT.search(file.name)]
    return tuple(whole[:1] or rows)


def fetch(files: Sequence[HubFile], tell: Tell) -> Path:
    """Downloads what is not here yet, continues what was broken off; the path of the first file."""
    missing = [file for file in files if not _is_here(file)]
    if missing:
        _check_disk(cache_folder(), sum(file.size_bytes for file in missing))
    for file in missing:
        _download(file, tell)
    return _folder(files[0]) / files[0].name


def _folder(file: HubFile) -> Path:
    return cache_folder() / "models" / file.repository.replace("/", "--")


def _is_here(file: HubFile) -> bool:
    path = _folder(file) / file.name
    return path.is_file() and path.stat().st_size == file.size_bytes


def _check_disk(folder: Path, need_bytes: int) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(folder).free
    if free < need_bytes + _SPARE_BYTES:
        raise WorldError(f"download to {folder}", f"{need_bytes} bytes needed and {_SPARE_BYTES} to spare, {free} free")


def _download(file: HubFile, tell: Tell) -> None:
    """In one stream that goes on where an earlier one broke off; the content is checked before it gets its name.

    The hub's own library begins anew after every interruption (huggingface_hub 2.4 file_download), which a file of tens of
    gigabytes does not bear. Raises ReadFailed, WorldError for a full disk.
    """
    target = _folder(file) / file.name
    part = target.with_name(f"{target.name}.{(file.sha256 or 'unknown')[:12]}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        for attempt in range(_ATTEMPTS):
            try:
                _append(file, part, tell)
                break
            except ReadFailed:
                if attempt == _ATTEMPTS - 1:
                    raise
                time.sleep(_PAUSE_S * 2**attempt)
        if part.stat().st_size != file.size_bytes or not _matches(part, file.sha256):
            part.unlink()
            raise ReadFailed(
                f"download {file.repository}/{file.name}", "size or checksum differ from what the hub states"
            )
        part.replace(target)
    except OSError as error:
        raise WorldError(f"download to {target.parent}", error.strerror or str(error)) from error


def _append(file: HubFile, part: Path, tell: Tell) -> None:
    """What is missing of a part. Raises ReadFailed when the answer ends early."""
    have = part.stat().st_size if part.exists() else 0
    if have >= file.size_bytes:
        return
    with opened_file(file, have) as answer:
        if have and answer.status != http.client.PARTIAL_CONTENT:
            have = 0  # the server begins anew
        with part.open("r+b" if have else "wb") as into:
            into.seek(have)
            while data := answer.read(_CHUNK):
                _write(into, data)
                have += len(data)
                tell(file.name, have, file.size_bytes)
    if have < file.size_bytes:
        raise ReadFailed(
            f"download {file.repository}/{file.name}", f"broke off after {have} of {file.size_bytes} bytes"
        )


def _write(into: IO[bytes], data: bytes) -> None:
    """Raises WorldError, not to be taken for a broken connection."""
    try:
        into.write(data)
    except OSError as error:
        raise WorldError(f"write {into.name}", error.strerror or str(error)) from error


def _matches(path: Path, sha256: str | None) -> bool:
    if sha256 is None or len(sha256) != _SHA256_LETTERS:
        return True
    digest = hashlib.sha256()
    with path.open("rb") as source:
        while data := source.read(_CHUNK):
            digest.update(data)
    return digest.hexdigest() == sha256
