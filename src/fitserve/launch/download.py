"""A GGUF to a local file: one that is there, or one of the hub with resume, checksum and a look at the disk first."""

import hashlib
import re
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from fitserve.engines.contract import Deployment
from fitserve.foundation.errors import InputError, ReadFailed, WorldError
from fitserve.ledger.places import cache_folder

_SPARE_BYTES = 1 << 30
_CHUNK = 1 << 22
_SPLIT = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$")
_SHA256_LETTERS = 64
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


@dataclass(frozen=True, slots=True, kw_only=True)
class HubFile:
    """A file of a repository. `sha256`: of its content, None where the hub does not tell."""

    repository: str
    name: str
    size_bytes: int
    sha256: str | None


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
        files = hub_files(repository, mix)
        if files:
            return fetch(files, tell)
    raise InputError.of("gguf_not_published", model=deployment.model.id, format=mix, asked=repositories)


def _repositories(deployment: Deployment) -> tuple[str, ...]:
    """The named one, else where files of this model are usually published."""
    if deployment.repository is not None and deployment.repository.count("/") == 1:
        return (deployment.repository,)
    owner, _, name = deployment.model.id.rpartition("/")
    return tuple(dict.fromkeys(text.format(owner=owner or name, name=name) for text in _PUBLISHERS))


def _hub() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise InputError.of("extra_missing", package="huggingface_hub", extra="engines") from error
    return huggingface_hub


def hub_files(repository: str, mix: str) -> tuple[HubFile, ...]:
    """The files of a quantization mix, in order; empty when the repository has none, or is none."""
    hub = _hub()
    try:
        found = hub.HfApi().model_info(repository, files_metadata=True)
    except hub.errors.RepositoryNotFoundError:
        return ()
    except hub.errors.GatedRepoError as error:
        raise ReadFailed(f"hub {repository}", "gated: accept the licence there and set HF_TOKEN") from error
    except (hub.errors.HfHubHTTPError, hub.errors.OfflineModeIsEnabled, OSError, ValueError) as error:
        raise ReadFailed(f"hub {repository}", _line(error)) from error
    word = re.compile(rf"(^|[-._/]){re.escape(mix)}(?=[-./]|$)", re.IGNORECASE)
    rows = [
        row for row in found.siblings or () if row.rfilename.lower().endswith(".gguf") and word.search(row.rfilename)
    ]
    rows = [row for row in rows if not re.search(r"(^|/)(mmproj|imatrix)", row.rfilename.lower())]
    rows.sort(key=lambda row: (not _SPLIT.search(row.rfilename), row.rfilename))
    whole = [row for row in rows if not _SPLIT.search(row.rfilename)]
    chosen = whole[:1] or rows
    return tuple(
        HubFile(
            repository=repository, name=row.rfilename, size_bytes=int(row.size or 0),
            sha256=None if row.lfs is None else str(row.lfs.sha256),
        )
        for row in chosen
    )  # fmt: skip


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
    """By the hub's own library, which resumes; then the content is checked. A wrong one is removed."""
    hub = _hub()
    try:
        got = hub.hf_hub_download(file.repository, file.name, local_dir=_folder(file), tqdm_class=_progress(file, tell))
    except (hub.errors.HfHubHTTPError, hub.errors.LocalEntryNotFoundError, OSError, ValueError) as error:
        raise ReadFailed(f"download {file.repository}/{file.name}", _line(error)) from error
    path = Path(got)
    if path.stat().st_size != file.size_bytes or not _matches(path, file.sha256):
        path.unlink(missing_ok=True)
        raise ReadFailed(f"download {file.repository}/{file.name}", "size or checksum differ from what the hub states")


def _matches(path: Path, sha256: str | None) -> bool:
    if sha256 is None or len(sha256) != _SHA256_LETTERS:
        return True
    digest = hashlib.sha256()
    with path.open("rb") as source:
        while data := source.read(_CHUNK):
            digest.update(data)
    return digest.hexdigest() == sha256


def _progress(file: HubFile, tell: Tell) -> type:
    """A bar for the hub's library that tells bytes instead of drawing."""
    from tqdm.auto import tqdm

    class Bar(tqdm):  # type: ignore[misc]  # tqdm has no types
        def __init__(self, *args: Any, **named: Any) -> None:
            super().__init__(*args, **(named | {"file": _Nowhere(), "disable": False, "mininterval": 0.5}))

        def display(self, *_: Any, **__: Any) -> None:
            tell(file.name, int(self.n), int(self.total or file.size_bytes))

    return Bar


class _Nowhere:
    def write(self, _: str) -> None: ...
    def flush(self) -> None: ...


def _line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return (lines[0] if lines else type(error).__name__)[:300]
