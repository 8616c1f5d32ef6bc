"""POST endpoints: a verb each."""

import hashlib
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter, FastAPI
from starlette.requests import Request
from starlette.responses import Response

from fitserve.api.desk import Busy, Desk
from fitserve.api.replies import asked_language, encoded, packed, told, words_of
from fitserve.api.routes.bodies import fields_of, is_plain_text, log_of
from fitserve.api.verbs import VERBS, Outside, Verb
from fitserve.foundation.errors import FitserveError
from fitserve.plan.request import Request as Asked
from fitserve.render.texts import Texts, texts

Endpoint = Callable[[Request], Coroutine[Any, Any, Response]]


def asking_router() -> APIRouter:
    """`POST /plan` and so on, for every verb."""
    router = APIRouter()
    for verb in VERBS.values():
        router.add_api_route(f"/{verb.name}", _endpoint(verb), methods=["POST"])
    return router


def _endpoint(verb: Verb) -> Endpoint:
    async def endpoint(request: Request) -> Response:
        words = texts("en")
        try:
            words, language = words_of(request), asked_language(request)
            is_log = verb.name == "diagnose" and is_plain_text(request)
            asked = verb.read(await (log_of(request) if is_log else fields_of(request)))
            body = await _answer(verb, asked, words, language, request.app)
        except (FitserveError, Busy) as error:
            return told(error, words)
        return packed(request, body, words)

    return endpoint


async def _answer(verb: Verb, asked: Asked, words: Texts, language: str | None, app: FastAPI) -> bytes:
    """The packed JSON of a verb. Raises FitserveError and Busy."""
    desk: Desk = app.state.desk
    outside = Outside(world=app.state.world, today=datetime.now(UTC).date().isoformat(), language=language)

    def work() -> bytes:
        outcome = verb.run(asked, outside)
        return encoded(outcome.form(words if outcome.language is None else texts(outcome.language)))

    content = hashlib.sha256(asked.model_dump_json().encode()).hexdigest()  # a log may be megabytes
    return await desk.answer((verb.name, content, words.language, language, outside.today), work)
