"""The log of a run of the ledger, to its causes; kept with the run."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from fitserve.cli.verbs import world
from fitserve.diagnose.answer import diagnose
from fitserve.diagnose.request import DiagnoseRequest
from fitserve.diagnose.types import Diagnosis
from fitserve.launch.processes import log_parts
from fitserve.ledger.places import run_folder
from fitserve.ledger.store import Ledger
from fitserve.ledger.types import Run
from fitserve.render.diagnosed import diagnosis_form
from fitserve.render.texts import Texts

_PIECE_BYTES = 1 << 18


def diagnosed(run: Run, texts: Texts) -> Diagnosis:
    """What the log of a run says, with what the run itself knows of its deployment; the first cause is kept with it."""
    answer = diagnose(_pieces(run_folder(run.id), run), request_of(run), world())
    if answer.causes:
        Ledger().update(run.id, cause=diagnosis_form(answer, texts)["causes"][0])
    return answer


def request_of(run: Run) -> DiagnoseRequest:
    """The hints that a run gives."""
    deployment: Mapping[str, Any] = run.deployment or {}
    fields: dict[str, Any] = {}
    if deployment:
        fields = {"engine": deployment.get("engine"), "engine_version": deployment.get("engine_version")}
        fields["gpu"] = tuple(f"{row['gpu']}:{row['count']}" for row in deployment.get("gpus") or ())
        model = str(deployment.get("model") or "")
        fields["model"] = model if model and not model.startswith(("/", ".")) else None
    return DiagnoseRequest.read(**fields)


def _pieces(folder: Path, run: Run) -> Iterator[bytes]:
    """The log as far as it was kept; its last lines where the files are gone."""
    parts = log_parts(folder)
    for path in parts:
        with path.open("rb") as file:
            while piece := file.read(_PIECE_BYTES):
                yield piece
    if not parts:
        yield f"{run.log_tail or ''}\n{(run.result or {}).get('error', '')}\n".encode()
