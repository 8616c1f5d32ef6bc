"""Expected errors as sentences on the page; anything else is a page that says so, without its insides."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from fitserve.foundation.errors import FactMissing, InputError, WorldError
from fitserve.render.texts import Texts
from fitserve.web.frame import page

_log = logging.getLogger("fitserve.web")


@contextmanager
def told(words: Texts) -> Iterator[list[str]]:
    """Collects what an expected error says; empty when there was none."""
    found: list[str] = []
    try:
        yield found
    except InputError as error:
        found += [words.problem(problem) for problem in error.problems]
    except WorldError as error:
        found.append(words.world_error(error))
    except FactMissing as error:
        found.append(words.text("reason", "fact_missing", {"fact": error.fact, "where": error.where}))


def show_errors(app: FastAPI) -> None:
    """Pages for addresses that are none and for bugs."""

    async def http(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        code = "page_missing" if error.status_code == 404 else "page_refused"
        return page(request, "error.html", {"code": code, "status": error.status_code}, status=error.status_code)

    async def bug(request: Request, error: Exception) -> Response:
        _log.exception("%s", request.url.path, exc_info=error)
        return page(request, "error.html", {"code": "page_bug", "status": 500}, status=500)

    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, bug)
