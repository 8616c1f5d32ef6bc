"""`fitserve diagnose`: a log, from a file or standard input, to its causes."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

from fitserve.cli.output import check_out, write
from fitserve.cli.verbs import world
from fitserve.diagnose.answer import diagnose
from fitserve.diagnose.request import DiagnoseRequest
from fitserve.diagnose.types import Diagnosis
from fitserve.foundation.errors import InputError
from fitserve.render.diagnosed import diagnosis_form, diagnosis_view
from fitserve.render.texts import Texts

_PIECE_BYTES = 1 << 18


def run_diagnose(values: dict[str, Any], texts: Texts) -> int:
    """`fitserve diagnose LOG|-|--run ID`."""
    check_out(values.get("out"))
    if values.get("run") is not None:
        return _of_run(values, texts)
    fields = {key: value for key, value in values.items() if key not in {"json", "out", "lang"}}
    request = DiagnoseRequest.read(**{**fields, "log": fields.get("log") or "-"})
    answer = _of(request)
    write(
        lambda: diagnosis_form(answer, texts),
        diagnosis_view(answer, texts),
        bool(values.get("json")),
        values.get("out"),
    )
    return 0 if answer.is_found else 1


def _of_run(values: dict[str, Any], texts: Texts) -> int:
    """A run of the ledger. Raises InputError for one that is not there."""
    from fitserve.cli.run_diagnosis import diagnosed
    from fitserve.ledger.store import Ledger

    given = str(values["run"])
    if values.get("log") is not None or not given.isdigit():
        raise InputError.of("run_unknown", given=given)
    answer = diagnosed(Ledger().get(int(given)), texts)
    view = diagnosis_view(answer, texts)
    write(lambda: diagnosis_form(answer, texts), view, bool(values.get("json")), values.get("out"))
    return 0 if answer.is_found else 1


def _of(request: DiagnoseRequest) -> Diagnosis:
    """The diagnosis of a file or of standard input, read in pieces. Raises InputError for a file that is none."""
    if request.log == "-":
        return diagnose(_pieces(sys.stdin.buffer), request, world())
    path = Path(request.log).expanduser()
    try:
        with path.open("rb") as file:
            return diagnose(_pieces(file), request, world())
    except OSError as error:
        raise InputError.of("file_missing", where=request.log, detail=error.strerror or "?") from error


def _pieces(file: BinaryIO) -> Iterator[bytes]:
    while piece := file.read(_PIECE_BYTES):
        yield piece
