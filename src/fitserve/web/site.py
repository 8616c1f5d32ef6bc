"""All pages of the browser, the files that they need, and the two switches that a visitor keeps: language and theme."""

from http import HTTPStatus
from urllib.parse import urlsplit

from fastapi import APIRouter
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from fitserve.render.texts import LANGUAGES
from fitserve.web import (
    check_page,
    cost_page,
    diagnose_page,
    find_page,
    guide_page,
    known_page,
    lists_page,
    plan_page,
    runs_page,
    talk_page,
)
from fitserve.web.errors import show_errors
from fitserve.web.frame import LANGUAGE_COOKIE, THEME_COOKIE, THEMES, assets

__all__ = ["router", "show_errors"]

_YEAR_S = 365 * 24 * 3600
router = APIRouter(include_in_schema=False)


@router.get("/static/{tag}/{name}")
def static_file(request: Request, tag: str, name: str) -> Response:
    """A file of the package, by its name only."""
    found = assets().get(name)
    if found is None:
        raise HTTPException(HTTPStatus.NOT_FOUND)
    headers = {"cache-control": f"public, max-age={_YEAR_S}, immutable", "etag": f'"{found.tag}"'}
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
    return Response(found.body, media_type=found.kind, headers=headers)


@router.get("/favicon.ico")
def icon() -> Response:
    """The mark, for browsers that ask without being told."""
    return Response(assets()["icon.svg"].body, media_type="image/svg+xml")


@router.post("/settings")
async def keep_settings(request: Request) -> Response:
    """Keeps a switch in a cookie and goes back to the page."""
    form = await request.form()
    answer = RedirectResponse(_own_address(str(form.get("back", "/"))), HTTPStatus.SEE_OTHER)
    for name, cookie, known in (("lang", LANGUAGE_COOKIE, LANGUAGES), ("theme", THEME_COOKIE, THEMES)):
        given = str(form.get(name, ""))
        if given in known:
            answer.set_cookie(cookie, given, max_age=_YEAR_S, samesite="lax", path="/")
        elif given == "system":
            answer.delete_cookie(cookie, path="/")
    return answer


def _own_address(text: str) -> str:
    """A path of this server; the start page for anything else."""
    parts = urlsplit(text)
    is_own = not parts.scheme and not parts.netloc and text.startswith("/") and not text.startswith(("//", "/\\"))
    return text if is_own and "\n" not in text and "\r" not in text else "/"


for part in (
    plan_page,
    find_page,
    lists_page,
    check_page,
    cost_page,
    diagnose_page,
    guide_page,
    known_page,
    runs_page,
    talk_page,
):
    router.include_router(part.router)
