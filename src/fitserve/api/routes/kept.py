"""What this user's ledger keeps, to read only; served where nobody but this machine can ask."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from fitserve.api.replies import told, words_of
from fitserve.foundation.errors import FitserveError, InputError
from fitserve.ledger.shape import run_form
from fitserve.ledger.store import Ledger
from fitserve.render.forms import SCHEMA_VERSION
from fitserve.render.runs import runs_form
from fitserve.render.texts import texts

_SHOWN = 30
_MOST_NUMBER = 2**63 - 1
router = APIRouter()


async def _read(request: Request, read: Callable[[], dict[str, Any]]) -> Response:
    words = texts("en")
    try:
        words = words_of(request)
        form = await asyncio.to_thread(read)
    except FitserveError as error:
        return told(error, words)
    return JSONResponse(form, headers={"cache-control": "no-store"})


@router.get("/runs")
async def runs(request: Request) -> Response:
    """The newest runs."""
    return await _read(request, lambda: runs_form(Ledger().runs(limit=_SHOWN)))


@router.get("/runs/{number:int}")
async def run(request: Request, number: int) -> Response:
    """One run in full."""
    return await _read(request, lambda: _one(number))


def _one(number: int) -> dict[str, Any]:
    if number > _MOST_NUMBER:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    try:
        found = Ledger().get(number)
    except InputError as error:  # the only one: there is no such run
        raise HTTPException(HTTPStatus.NOT_FOUND) from error
    return {"schema_version": SCHEMA_VERSION, **run_form(found, is_whole=True)}
