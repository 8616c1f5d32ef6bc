"""`--out` of a job: its files where the name says so, or a shell script that installs its tool and runs it."""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fitserve.cli.output import check_out, save_all
from fitserve.emit.shells import bash_line
from fitserve.engines.contract import LaunchFile
from fitserve.foundation.errors import InputError, WorldError
from fitserve.ledger.store import Ledger
from fitserve.ledger.types import Kind

_FILES = {".py": ".py", ".yaml": ".yaml", ".yml": ".yaml", ".sh": ".sh"}


def check_job_out(out: str | None, files: tuple[LaunchFile, ...]) -> bool:
    """Whether `out` names a file of the job. Raises InputError for a kind of file that the job does not have."""
    kind = None if out is None else _FILES.get(Path(out).suffix.lower())
    if out is None or kind is None:
        check_out(out)
        return False
    if kind != ".sh" and (not files or not files[0].path.endswith(kind)):
        raise InputError.of("job_has_no_such_file", given=out, names=tuple(file.path for file in files) or ("-",))
    return True


def save_job(out: str, files: tuple[LaunchFile, ...], argv: tuple[str, ...], install: tuple[str, ...]) -> None:
    """Writes the job: the named file first, the others beside it."""
    path = Path(out)
    if path.suffix.lower() == ".sh":
        lines = ["#!/usr/bin/env bash", "set -euo pipefail"]
        if install:
            lines += ["python3 -m venv .venv", ". .venv/bin/activate", f"pip install {bash_line(install)}"]
        text = "\n".join([*lines, bash_line(argv), ""])
        save_all(path.parent, (LaunchFile(path=path.name, text=text), *files))
        return
    main, *others = files
    save_all(path.parent, (LaunchFile(path=path.name, text=main.text), *others))


def remember(kind: Kind, title: str, form: Mapping[str, Any]) -> None:
    """Keeps what was asked and what came of it; a ledger that cannot be written is told, and nothing else."""
    try:
        Ledger().add(kind, title, form["plan"], request=form["request"])
    except WorldError as error:
        print(f"! {error}", file=sys.stderr)
