"""Where an answer goes: the terminal, JSON, or a file whose name decides the form. Files appear whole or not at all."""

import json
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType

from fitserve.engines.contract import LaunchFile
from fitserve.foundation.errors import InputError, WorldError
from fitserve.render.tables import as_text, print_view

if TYPE_CHECKING:
    from fitserve.emit.forms import Launch

_ANSWERS = (".json", ".md", ".txt")


def check_out(out: str | None) -> None:
    """Raises InputError for a file name that has no form."""
    if out is None or Path(out).suffix.lower() in _ANSWERS:
        return
    from fitserve.emit.forms import KNOWN, form_of  # the forms are loaded when a file is asked for

    if form_of(out) is None:
        raise InputError.of("out_kind_unknown", given=out, known=(*_ANSWERS, *KNOWN))


def write(
    form: Callable[[], dict[str, Any]],
    view: RenderableType,
    as_json: bool,
    out: str | None,
    markdown: Callable[[], str] | None = None,
    launch: Callable[[str], "Launch | None"] | None = None,
) -> None:
    """Prints an answer, and writes it to `out` when that is given.

    `markdown` is its own Markdown form, if it has one; `launch` the command of the answer for files in a folder.
    """
    if out is not None:
        path = Path(out)
        ending = path.suffix.lower()
        if ending in _ANSWERS:
            save(path, _content(form, view, ending, markdown))
        else:
            _save_launch(path, launch)
    if as_json:
        print(json.dumps(form(), ensure_ascii=False, indent=2))
    else:
        print_view(view)


def _content(
    form: Callable[[], dict[str, Any]], view: RenderableType, ending: str, markdown: Callable[[], str] | None
) -> str:
    if ending == ".json":
        return json.dumps(form(), ensure_ascii=False, indent=2) + "\n"
    if ending == ".txt":
        return as_text(view)
    return markdown() if markdown else f"```text\n{as_text(view)}```\n"


def _save_launch(path: Path, launch: "Callable[[str], Launch | None] | None") -> None:
    from fitserve.emit.forms import launch_files

    found = launch(str(path.absolute().parent)) if launch is not None else None
    if found is None:
        raise InputError.of("out_without_command", kind=path.name)
    save_all(path.parent, launch_files(str(path), found))


def save_all(folder: Path, files: Sequence[LaunchFile]) -> None:
    """Writes the first file and those that it needs beside it: all of them, or none.

    Raises InputError where a needed file exists with another content: only the named file is replaced.
    """
    first, *needed = files
    new: list[LaunchFile] = []
    for file in needed:
        if not (folder / file.path).exists():
            new.append(file)
        elif not _holds(folder / file.path, file.text):
            raise InputError.of("out_file_differs", where=str(folder / file.path))
    written: list[Path] = []
    try:
        for file in [*new, first]:
            save(folder / file.path, file.text)
            written.append(folder / file.path)
    except WorldError:
        for path in written:
            path.unlink(missing_ok=True)
        raise


def _holds(path: Path, text: str) -> bool:
    try:
        return path.read_bytes() == text.encode()
    except OSError:
        return False


def save(path: Path, text: str) -> None:
    """Writes a file by renaming a finished one. Windows PowerShell reads UTF-8 only with a byte order mark."""
    ending = path.suffix.lower()
    encoding = "utf-8-sig" if ending == ".ps1" else "utf-8"
    temporary: Path | None = None
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        temporary = Path(name)
        with os.fdopen(handle, "w", encoding=encoding, newline="") as file:
            file.write(text)
        temporary.chmod(0o755 if ending == ".sh" else 0o644)
        temporary.replace(path)
    except OSError as error:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
        raise WorldError(f"write {path}", error.strerror or str(error)) from error
