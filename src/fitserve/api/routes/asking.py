"""POST endpoints: a verb each."""

from collections.abc import Callable, Coroutine
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from fitserve.api.desk import Busy, Desk
from fitserve.api.replies import encoded, packed, told, words_of
from fitserve.api.routes.bodies import fields_of
from fitserve.api.verbs import VERBS, Outside, Verb
from fitserve.foundation.errors import FitserveError
from fitserve.plan.world import World
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
            words = words_of(request)
            body = await _answer(verb, await fields_of(request), words, request.app.state.world, request.app.state.desk)
        except (FitserveError, Busy) as error:
            return told(error, words)
        return packed(request, body, words)

    return endpoint


async def _answer(verb: Verb, fields: dict[str, Any], words: Texts, world: World, desk: Desk) -> bytes:
    """The packed JSON of a verb. Raises FitserveError and Busy."""
    asked = verb.read(fields)
    outside = Outside(world=world, today=datetime.now(UTC).date().isoformat())

    def work() -> bytes:
        return encoded(verb.run(asked, outside).form(words))

    key = (verb.name, asked.model_dump_json(), words.language, outside.today)
    return await desk.answer(key, work)
