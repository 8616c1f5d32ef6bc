"""GET endpoints: what is known. Their replies have entity tags."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from fitserve import __version__
from fitserve.api.desk import Busy
from fitserve.api.replies import VERSIONED, encoded, packed, tag_of, told, words_of
from fitserve.api.verbs import VERBS
from fitserve.foundation.errors import FitserveError
from fitserve.render.asked import questions_form
from fitserve.render.catalogue_forms import engines_form, gpus_form, gpus_found, models_form, models_found
from fitserve.render.forms import SCHEMA_VERSION
from fitserve.render.texts import Texts, texts

Form = dict[str, Any]
Words = tuple[str, ...]
_MOST_WORDS, _LONGEST_WORD = 8, 80


def _index(_: Words, __: Texts) -> Form:
    return {"schema_version": SCHEMA_VERSION, "name": "fitserve", "version": __version__, "verbs": list(VERBS)}


def _validate(_: Words, words: Texts) -> Form:
    from fitserve.evidence.cases import packaged_cases
    from fitserve.evidence.score import rows_of, scoreboard
    from fitserve.render.scoreboard import scoreboard_form

    rows = [row for case in packaged_cases() for row in rows_of(case)]
    return scoreboard_form(scoreboard(rows), rows, words)


_READ: dict[str, Callable[[Words, Texts], Form]] = {
    "": _index,
    "/models": lambda given, _: models_form(models_found(given)),
    "/gpus": lambda given, _: gpus_form(gpus_found(given)),
    "/engines": lambda _, words: engines_form(words),
    "/questions": lambda _, words: questions_form(words),
    "/validate": _validate,
}


def catalogues_router() -> APIRouter:
    """`GET /api/v1/models` and so on."""
    router = APIRouter()
    for path, read in _READ.items():
        router.add_api_route(VERSIONED + path, _endpoint(path, read), methods=["GET"])
    return router


def _endpoint(path: str, read: Callable[[Words, Texts], Form]) -> Any:
    async def endpoint(request: Request) -> Response:
        words = texts("en")
        try:
            words = words_of(request)
            given = _search(request)
            body = await request.app.state.desk.answer(
                (path, given, words.language), lambda: encoded(read(given, words))
            )
        except (FitserveError, Busy) as error:
            return told(error, words)
        return packed(request, body, words, tag_of(body))

    return endpoint


def _search(request: Request) -> Words:
    """Words of `?search=`, which may be repeated."""
    given = " ".join(request.query_params.getlist("search")).split()
    return tuple(word[:_LONGEST_WORD] for word in given[:_MOST_WORDS])
