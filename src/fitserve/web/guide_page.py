"""The guide to a machine: what it is good for, what fits, set-ups, settings, cost; on a page and as a file to print."""

import json
from typing import Any

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from fitserve.foundation.errors import FitserveError
from fitserve.guides.build import guide
from fitserve.guides.request import GuideRequest
from fitserve.guides.types import Guide
from fitserve.plan.world import World
from fitserve.render.guide.document import guide_document
from fitserve.render.guide_json import guide_form
from fitserve.render.page.html import html
from fitserve.render.page.markdown import markdown
from fitserve.web.asked import Asked, asked_of
from fitserve.web.blocks import marked, sections_of
from fitserve.web.errors import told
from fitserve.web.frame import page, texts_of, world_of
from fitserve.web.memo import Memo
from fitserve.web.rig import rig_view

router = APIRouter(include_in_schema=False)
_FORMS = {"html": "text/html", "md": "text/markdown", "json": "application/json"}
_FIELDS = tuple(name for name in GuideRequest.model_fields if name != "gpu")


def _request(asked: Asked) -> GuideRequest:
    return GuideRequest.read(**asked.fields(_FIELDS))


_GUIDES: Memo[Guide] = Memo(16)


def _guide(request: GuideRequest, world: World) -> Guide:
    return _GUIDES.of((request, world), lambda: guide(request, world))


@router.get("/guide")
def guide_page(request: Request) -> Response:
    """The page: the form, and the guide as soon as hardware is named."""
    return page(request, "guide.html", _values(request), here="guide")


@router.get("/part/guide")
def guide_part(request: Request) -> Response:
    """The same without the frame."""
    return page(request, "guide_part.html", _values(request))


@router.get("/guide.{form}")
def guide_file(request: Request, form: str) -> Response:
    """The guide as one file."""
    words, asked = texts_of(request), asked_of(request.query_params)
    if form not in _FORMS:
        return page(request, "error.html", {"code": "page_missing", "status": 404}, status=404)
    try:
        found = _guide(_request(asked), world_of(request))
    except FitserveError:
        return page(request, "guide.html", _values(request), here="guide", status=422)
    document = guide_document(found, words)
    if form == "json":
        text = json.dumps(guide_form(_request(asked), found, words), ensure_ascii=False, indent=2) + "\n"
    else:
        text = html(document) if form == "html" else markdown(document)
    name = {"content-disposition": f'attachment; filename="guide.{form}"'}
    return Response(text, media_type=f"{_FORMS[form]}; charset=utf-8", headers=name)


def _values(request: Request) -> dict[str, Any]:
    words, asked = texts_of(request), asked_of(request.query_params)
    values: dict[str, Any] = {
        "asked": asked, "problems": [], "rig": rig_view(asked, None, words) | {"has_model": False}, "sections": (),
        "is_asked": bool(request.query_params), "query": asked.query(),
    }  # fmt: skip
    if not values["is_asked"]:
        return values
    with told(words) as problems:
        document = guide_document(_guide(_request(asked), world_of(request)), words)
        values |= {
            "title": document.title, "eyebrow": document.eyebrow, "summary": [marked(text) for text in document.summary],
            "sections": sections_of(document), "contents_title": document.contents_title, "colophon": marked(document.colophon),
        }  # fmt: skip
    return values | {"problems": problems}
