"""The check page: a pasted command, its findings by line, the right command."""

from typing import Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response

from fitserve.check.answer import CheckAnswer, check, notes_of
from fitserve.check.request import CheckRequest
from fitserve.foundation.reasons import Severity
from fitserve.plan.world import World
from fitserve.render.checked import check_form, shown
from fitserve.render.texts import Texts
from fitserve.web.asked import asked_of
from fitserve.web.errors import told
from fitserve.web.frame import page, texts_of, world_of
from fitserve.web.shown import shown_view

router = APIRouter(include_in_schema=False)
_FIELDS = ("gpu", "os", "ram", "engine_version")
_LONGEST_FIELD = 200
_SHELLS = {"powershell": "powershell", "cmd": "cmd", "batch": "cmd"}
_NO_QUERY = QueryParams("")
EXAMPLE = """vllm serve meta-llama/Llama-4-Scout-17B-16E-Instruct \\
  --quantization fp8 --max-model-len 131072 --tensor-parallel-size 3 --disable-log-requests"""


@router.get("/check")
def check_page(request: Request) -> Response:
    """The empty form."""
    return page(request, "check.html", _empty(request.query_params.get("example") is not None), here="check")


@router.post("/check")
async def checked_page(request: Request) -> Response:
    """Findings of a pasted command; nothing of it is run."""
    form = await request.form()
    given = {name: str(form.get(name, "")).strip()[:_LONGEST_FIELD] for name in _FIELDS}
    command = str(form.get("command", "")).replace("\r\n", "\n")
    words = texts_of(request)
    values = await run_in_threadpool(_checked, command, given, words, world_of(request))
    return page(request, "check.html", values, here="check", status=422 if values["problems"] else 200)


def _empty(with_example: bool) -> dict[str, Any]:
    given = dict.fromkeys(_FIELDS, "") | ({"gpu": "a100-sxm-80gb:2"} if with_example else {})
    return {"command": EXAMPLE if with_example else "", "given": given, "problems": [], "answer": None}


def _checked(command: str, given: dict[str, str], words: Texts, world: World) -> dict[str, Any]:
    values: dict[str, Any] = {"command": command, "given": given, "problems": [], "answer": None}
    fields: dict[str, Any] = {name: value for name, value in given.items() if value}
    if "gpu" in fields:
        fields["gpu"] = tuple(part.strip() for part in fields["gpu"].split(",") if part.strip())
    with told(words) as problems:
        answer = check(CheckRequest.read(command=command, **fields), world)
        values["answer"] = _view(answer, words)
    return values | {"problems": problems}


def _view(answer: CheckAnswer, words: Texts) -> dict[str, Any]:
    form = check_form(answer, words)
    findings = [(finding.reason.parameters.get("line"), shown(finding.reason)) for finding in answer.findings]
    blockers = sum(1 for _, reason in findings if reason.severity is Severity.BLOCKER)
    main = answer.main
    judged = None if main is None else main.evaluated
    corrected = form["corrected"]
    shell = _SHELLS.get(answer.script.syntax or "", "bash")
    text = None if corrected is None else corrected["shells"].get(shell) or corrected["shells"]["bash"]
    return {
        "is_ok": answer.is_ok, "is_read": bool(answer.checked), "blockers": blockers, "corrected": text,
        "is_instead": answer.instead is not None, "version": None if corrected is None else corrected["engine_version"],
        "findings": [
            {
                "line": line if isinstance(line, int) and line else None, "severity": str(reason.severity),
                "text": words.reason(reason),
            }
            for line, reason in findings
        ],
        "notes": [words.reason(reason) for reason in notes_of(answer)],
        "shown": None if judged is None else shown_view(judged, asked_of(_NO_QUERY), words),
        "program": None if main is None else main.call.program,
    }  # fmt: skip
