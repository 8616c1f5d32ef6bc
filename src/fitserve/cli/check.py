"""`fitserve check`: a pasted command, a file with one, or standard input."""

import sys
from pathlib import Path
from typing import Any

from fitserve.check.answer import check
from fitserve.check.request import CheckRequest
from fitserve.cli.output import check_out, write
from fitserve.cli.verbs import world
from fitserve.foundation.errors import InputError
from fitserve.render.checked import check_form, check_view
from fitserve.render.texts import Texts

_MOST_BYTES = 1 << 20


def run_check(values: dict[str, Any], texts: Texts) -> int:
    """`fitserve check 'COMMAND' | FILE | -`."""
    check_out(values.get("out"))
    fields = {key: value for key, value in values.items() if key not in {"json", "out", "lang"}}
    fields["command"] = _text(str(fields.get("command") or ""))
    answer = check(CheckRequest.read(**fields), world())
    write(lambda: check_form(answer, texts), check_view(answer, texts), bool(values.get("json")), values.get("out"))
    return 0 if answer.is_ok else 1


def _text(given: str) -> str:
    """The command itself; `-` is standard input, the name of a file that exists is read."""
    if given == "-":
        return sys.stdin.read(_MOST_BYTES)
    try:
        path = Path(given)
        if "\n" in given or len(given) > 4096 or not path.is_file():
            return given
        if path.stat().st_size > _MOST_BYTES:
            raise InputError.of("script_too_long", flag="command", given=given, most=_MOST_BYTES)
        return path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError:
        return given
