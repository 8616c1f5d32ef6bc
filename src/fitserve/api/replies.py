"""Replies of the REST interface: JSON, packed where the client takes it, and errors of one shape."""

import gzip
import hashlib
import json
import logging
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from fitserve.api.desk import Busy
from fitserve.foundation.errors import FactMissing, FitserveError, InputError, WorldError
from fitserve.render.forms import SCHEMA_VERSION
from fitserve.render.texts import LANGUAGES, Texts, texts
from fitserve.web.frame import language_of

PREFIX = "/api/"
VERSIONED = "/api/v1"
RETRY_S = 2
_log = logging.getLogger("fitserve.api")
Handler = Callable[[Request, Exception], Response | Awaitable[Response]]


def words_of(request: Request) -> Texts:
    """The language of `?lang=`, else of the browser's settings. Raises InputError for one that is not spoken here."""
    return texts(asked_language(request) or language_of(request))


def asked_language(request: Request) -> str | None:
    """`?lang=`. Raises InputError for a language that is not spoken here."""
    given = request.query_params.get("lang")
    if given is not None and given not in LANGUAGES:
        raise InputError.of("choice_wrong", flag="--lang", given=given[:40], choices=", ".join(LANGUAGES))
    return given


def packed(request: Request, body: bytes, words: Texts, tag: str | None = None) -> Response:
    """A reply of JSON that is gzip already. `tag`: the entity tag of a reply that may be kept."""
    headers = {"vary": "Accept-Encoding, Accept-Language, Cookie", "content-language": words.language}
    headers["cache-control"] = "no-cache" if tag else "no-store"
    if tag:
        headers["etag"] = tag
        if _is_known(request, tag):
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    if "gzip" in request.headers.get("accept-encoding", ""):
        headers["content-encoding"] = "gzip"
    else:
        body = gzip.decompress(body)
    return Response(body, headers=headers, media_type="application/json")


def tag_of(body: bytes) -> str:
    """A weak entity tag: the same for packed and plain."""
    return f'W/"{hashlib.sha256(body).hexdigest()[:20]}"'


def _is_known(request: Request, tag: str) -> bool:
    given = [part.strip() for part in request.headers.get("if-none-match", "").split(",")]
    return "*" in given or any(part.removeprefix("W/") == tag.removeprefix("W/") for part in given)


def encoded(form: Any) -> bytes:
    """JSON as UTF-8."""
    return json.dumps(form, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()


def error_reply(status: HTTPStatus, kind: str, text: str, problems: list[dict[str, str]] | None = None) -> Response:
    """An error. `kind`: input, unknown, world, refused, busy or bug."""
    error: dict[str, Any] = {"kind": kind, "text": text}
    if problems is not None:
        error["problems"] = problems
    headers = {"retry-after": str(RETRY_S)} if status is HTTPStatus.SERVICE_UNAVAILABLE else None
    return JSONResponse({"schema_version": SCHEMA_VERSION, "error": error}, status, headers)


def told(error: FitserveError | Busy, words: Texts) -> Response:
    """The reply to an expected error, with the texts of the command line."""
    if isinstance(error, InputError):
        problems = [{"code": item.code, "text": words.problem(item)} for item in error.problems]
        is_broken = any(item.code == "body_wrong" for item in error.problems)
        status = HTTPStatus.BAD_REQUEST if is_broken else HTTPStatus.UNPROCESSABLE_ENTITY
        return error_reply(status, "input", words.input_error(error), problems)
    if isinstance(error, FactMissing):
        text = words.text("reason", "fact_missing", {"fact": error.fact, "where": error.where})
        return error_reply(HTTPStatus.UNPROCESSABLE_ENTITY, "unknown", text)
    if isinstance(error, WorldError):
        return error_reply(HTTPStatus.SERVICE_UNAVAILABLE, "world", words.world_error(error))
    return error_reply(HTTPStatus.SERVICE_UNAVAILABLE, "busy", words.text("api", "busy"))


def json_errors(app: FastAPI) -> None:
    """Errors of addresses under /api/ as JSON; all others stay as they are handled already."""
    shown_http: Any = app.exception_handlers.get(HTTPException)
    shown_bug: Any = app.exception_handlers.get(Exception)

    async def http(request: Request, error: Exception) -> Response:
        if not request.url.path.startswith(PREFIX) and shown_http is not None:
            page: Response = await shown_http(request, error)
            return page
        assert isinstance(error, HTTPException)
        status = HTTPStatus(error.status_code)
        reply = error_reply(status, "refused", f"{status.value} {status.phrase}")
        reply.headers.update(error.headers or {})
        return reply

    async def bug(request: Request, error: Exception) -> Response:
        if not request.url.path.startswith(PREFIX) and shown_bug is not None:
            page: Response = await shown_bug(request, error)
            return page
        _log.exception("%s", request.url.path, exc_info=error)
        return error_reply(HTTPStatus.INTERNAL_SERVER_ERROR, "bug", "500 Internal Server Error")

    app.add_exception_handler(HTTPException, http)
    app.add_exception_handler(Exception, bug)
