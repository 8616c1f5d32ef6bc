"""The diagnose page: a pasted or dropped log, its causes by rank, the lines that say so, and what to change."""

from collections.abc import Iterator
from tempfile import SpooledTemporaryFile
from typing import IO, Any

from fastapi import APIRouter
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response

from fitserve.diagnose.answer import diagnose
from fitserve.diagnose.request import DiagnoseRequest
from fitserve.diagnose.types import Diagnosis
from fitserve.engines.registry import ENTRIES
from fitserve.plan.world import World
from fitserve.render.diagnosed import diagnosis_form
from fitserve.render.texts import Texts, value_text
from fitserve.web.errors import told
from fitserve.web.frame import page, texts_of, world_of

router = APIRouter(include_in_schema=False)
_FIELDS = ("gpu", "os", "ram", "engine", "engine_version", "model")
_LONGEST_FIELD = 200
_MOST_BYTES = 20 << 20
_PIECE_BYTES = 1 << 18
_IN_MEMORY_BYTES = 1 << 20
_COMPARED_SHOWN = 16
EXAMPLE = (
    "INFO 11-20 10:02:11 [gpu_worker.py:298] Available KV cache memory: 0.61 GiB\n"
    "ERROR 11-20 10:02:11 [core.py:708] ValueError: To serve at least one request with the models's max seq len (131072), "
    "(24.00 GiB KV cache is needed, which is larger than the available KV cache memory (0.61 GiB). Based on the available "
    "memory, the estimated maximum model length is 3312. Try increasing `gpu_memory_utilization` or decreasing "
    "`max_model_len` when initializing the engine."
)


@router.get("/diagnose")
def diagnose_page(request: Request) -> Response:
    """The empty form."""
    with_example = request.query_params.get("example") is not None
    return page(request, "diagnose.html", _values(EXAMPLE if with_example else ""), here="diagnose")


@router.post("/diagnose")
async def diagnosed_page(request: Request) -> Response:
    """Causes of a failure by its log. A log that is dropped on the page comes as the body and is read as it comes."""
    words = texts_of(request)
    if request.headers.get("content-type", "").startswith("text/plain"):
        given = {name: request.query_params.get(name, "")[:_LONGEST_FIELD] for name in _FIELDS}
        with SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as log:  # the disk holds what memory need not
            async for piece in request.stream():
                log.write(piece)
            log.seek(0)
            values = await run_in_threadpool(_diagnosed, log, given, words, world_of(request))
        return page(request, "diagnosed.html", values)
    async with request.form(max_part_size=_MOST_BYTES) as form:
        given = {name: str(form.get(name, "")).strip()[:_LONGEST_FIELD] for name in _FIELDS}
        file, text = form.get("file"), str(form.get("log", ""))
        with SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as log:
            is_file = isinstance(file, UploadFile) and bool(file.filename)
            if isinstance(file, UploadFile) and is_file:
                while piece := await file.read(_PIECE_BYTES):
                    log.write(piece)
            else:
                log.write(text.encode())
            log.seek(0)
            values = await run_in_threadpool(_diagnosed, log, given, words, world_of(request))
    values["text"] = "" if is_file else text[:200_000]
    return page(request, "diagnose.html", values, here="diagnose", status=422 if values["problems"] else 200)


def _values(text: str = "") -> dict[str, Any]:
    return {
        "text": text, "given": dict.fromkeys(_FIELDS, ""), "problems": [], "answer": None,
        "engines": [(entry.id, value_text("engine", entry.id)) for entry in ENTRIES],
    }  # fmt: skip


def _pieces(log: IO[bytes]) -> Iterator[bytes]:
    while piece := log.read(_PIECE_BYTES):
        yield piece


def _diagnosed(log: IO[bytes], given: dict[str, str], words: Texts, world: World) -> dict[str, Any]:
    values = _values() | {"given": given}
    fields: dict[str, Any] = {name: value for name, value in given.items() if value}
    if "gpu" in fields:
        fields["gpu"] = tuple(part.strip() for part in fields["gpu"].split(",") if part.strip())
    with told(words) as problems:
        values["answer"] = _view(diagnose(_pieces(log), DiagnoseRequest.read(**fields), world), words)
    return values | {"problems": problems}


def _view(answer: Diagnosis, words: Texts) -> dict[str, Any]:
    form = diagnosis_form(answer, words)
    shell = "powershell" if form["known"]["os"] == "windows" else "bash"
    for cause in form["causes"]:
        cause["percent"] = round(cause["confidence"] * 100)
        for fix in cause["fixes"]:
            fix["shell"] = None if fix["command"] is None else fix["command"]["shells"].get(shell)
    known = {name: value for name, value in form["known"].items() if value and name not in {"options", "origin"}}
    return {
        "causes": form["causes"], "compared": form["predicted_against_allocated"][:_COMPARED_SHOWN],
        "wrong": form["wrong_assumption"], "telling": form["telling"], "notes": form["notes"], "lines": form["lines"],
        "known": [", ".join(value) if isinstance(value, list) else str(value) for value in known.values()],
    }  # fmt: skip
