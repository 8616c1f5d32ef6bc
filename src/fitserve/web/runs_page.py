"""The runs page: what was planned, started and measured on this machine."""

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from fitserve.emit.shells import bash_line
from fitserve.foundation.errors import InputError
from fitserve.ledger.shape import duration_s
from fitserve.ledger.store import Ledger
from fitserve.ledger.types import Run, State
from fitserve.render.runs import figures_text
from fitserve.render.texts import Texts
from fitserve.web.errors import told
from fitserve.web.frame import page, texts_of

router = APIRouter(include_in_schema=False)
_SHOWN = 100
_STATES = {State.FAILED: "no", State.LOST: "no", State.DONE: "fits", State.READY: "fits"}


@router.get("/runs")
def runs_page(request: Request) -> Response:
    """The list, newest first."""
    words = texts_of(request)
    values: dict[str, Any] = {"rows": [], "problems": []}
    with told(words) as problems:
        values["rows"] = [_row(run, words) for run in Ledger().runs(limit=_SHOWN)]
    return page(request, "runs.html", values | {"problems": problems}, here="runs")


@router.get("/runs/{number}")
def run_page(request: Request, number: int) -> Response:
    """One run: its command, its figures, the end of its log."""
    words = texts_of(request)
    try:
        run = Ledger().get(number)
    except InputError:
        raise HTTPException(404) from None
    argv = (run.command or {}).get("argv")
    values = {
        "run": _row(run, words), "command": bash_line([str(word) for word in argv]) if isinstance(argv, list) else "",
        "log": run.log_tail or "", "cause": (run.cause or {}).get("text") or (run.cause or {}).get("code") or "",
        "parent": run.parent,
    }  # fmt: skip
    return page(request, "run.html", values, here="runs")


def _row(run: Run, words: Texts) -> dict[str, Any]:
    started = datetime.fromtimestamp(run.started_s, UTC).astimezone()
    return {
        "id": run.id, "kind": words.text("runs", f"kind_{run.kind.value}"), "title": run.title or "–",
        "state": words.text("serve", f"run_state_{run.state.value}"), "mark": _STATES.get(run.state, "unknown"),
        "when": started.strftime("%Y-%m-%d %H:%M"), "figures": figures_text(run, words), "seconds": duration_s(run),
    }  # fmt: skip
