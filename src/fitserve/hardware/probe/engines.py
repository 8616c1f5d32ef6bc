"""Versions of programs that are installed on this machine: the metadata of a package, or what the program prints."""

import re
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from shutil import which

_TIMEOUT_S = 20


def installed_version(row: Mapping[str, str]) -> str | None:
    """Version of what `row` names (`package`, or `program` with the `pattern` of its answer); None when it is not here."""
    try:
        return version(row["package"]) if row.get("package") else _printed(row)
    except PackageNotFoundError:
        return _printed(row)


def _printed(row: Mapping[str, str]) -> str | None:
    """What `PROGRAM --version` says; a program that fails or hangs says nothing."""
    program = which(row["program"]) if row.get("program") else None
    if program is None:
        return None
    try:
        ran = subprocess.run(  # noqa: S603 - the engine's own program, found on the path, with a fixed argument
            [program, "--version"], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(row["pattern"], ran.stdout + ran.stderr)
    return found[1] if found else None
