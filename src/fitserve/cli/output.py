"""Where an answer goes: the terminal, JSON, or a file whose ending decides the form. Files appear whole or not at all."""

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import RenderableType

from fitserve.emit.commands import SCRIPTS, script
from fitserve.foundation.errors import InputError, WorldError
from fitserve.render.tables import as_text, print_view

_FORMS = (".json", ".md", ".txt", *SCRIPTS)


def check_out(out: str | None) -> None:
    """Raises InputError for a file ending that has no form."""
    if out is not None and Path(out).suffix.lower() not in _FORMS:
        raise InputError.of("out_kind_unknown", given=out, known=_FORMS)


def write(
    form: Callable[[], dict[str, Any]],
    view: RenderableType,
    as_json: bool,
    out: str | None,
    markdown: Callable[[], str] | None = None,
) -> None:
    """Prints an answer, and writes it to `out` when that is given; `markdown` is its own Markdown form, if it has one."""
    if out is not None:
        ending = Path(out).suffix.lower()
        is_own = markdown is not None and ending == ".md"
        save(Path(out), markdown() if is_own and markdown else _content(form, view, ending), ending)
    if as_json:
        print(json.dumps(form(), ensure_ascii=False, indent=2))
    else:
        print_view(view)


def _content(form: Callable[[], dict[str, Any]], view: RenderableType, ending: str) -> str:
    if ending == ".json":
        return json.dumps(form(), ensure_ascii=False, indent=2) + "\n"
    if ending in {".md", ".txt"}:
        text = as_text(view)
        return f"```text\n{text}```\n" if ending == ".md" else text
    answer = form()
    plans = answer.get("plans", [answer.get("plan")])
    command = plans[0]["command"] if plans and plans[0] else None
    command_text = None if command is None else command["shells"][SCRIPTS[ending]]
    if command_text is None:
        raise InputError.of("out_without_command", kind=ending)
    return script(ending, command_text)


def save(path: Path, text: str, ending: str = "") -> None:
    """Writes a file by renaming a finished one. Windows PowerShell reads UTF-8 only with a byte order mark."""
    encoding = "utf-8-sig" if ending == ".ps1" else "utf-8"
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        with os.fdopen(handle, "w", encoding=encoding, newline="") as file:
            file.write(text)
        Path(temporary).chmod(0o755 if ending == ".sh" else 0o644)
        Path(temporary).replace(path)
    except OSError as error:
        raise WorldError(f"write {path}", error.strerror or str(error)) from error
