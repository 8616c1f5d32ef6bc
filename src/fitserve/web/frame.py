"""What every page shares: language and theme of the visitor, templates, words, the addresses of style sheets."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.requests import Request
from starlette.responses import HTMLResponse

from fitserve.plan.world import World
from fitserve.render.human import bytes_text, count_text, params_text
from fitserve.render.speed_text import rate_text, seconds_text
from fitserve.render.texts import LANGUAGES, Texts, texts, value_text
from fitserve.web.marks import basis_mark, verdict_mark

LANGUAGE_COOKIE, THEME_COOKIE = "fitserve_language", "fitserve_theme"
THEMES = ("light", "dark")
_KINDS = {".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml", ".webmanifest": "application/json"}
_FIRST = ("plan", "fit", "guide", "discussions", "evidence")
_MORE = ("compare", "hardware", "check", "diagnose", "cost", "catalogue", "runs")
_GIB = 1 << 30


@dataclass(frozen=True, slots=True)
class Asset:
    """A file for the browser and the tag of its content."""

    body: bytes
    kind: str
    tag: str


@lru_cache(maxsize=1)
def assets() -> Mapping[str, Asset]:
    """Files of `static/` by name. Only these are served: no path of a request reaches a disk."""
    found = {}
    tokens = files("fitserve.render.page").joinpath("tokens.css")  # one palette for pages and documents
    for entry in (tokens, *files("fitserve.web").joinpath("static").iterdir()):
        kind = _KINDS.get("." + entry.name.rpartition(".")[2])
        if kind is not None:
            body = entry.read_bytes()
            found[entry.name] = Asset(body, kind, hashlib.sha256(body).hexdigest()[:12])
    return found


@lru_cache(maxsize=1)
def _tag_of_all() -> str:
    """One tag for all files: a module names the others by their place beside it, so that all change together."""
    return hashlib.sha256("".join(asset.tag for asset in assets().values()).encode()).hexdigest()[:12]


def asset_url(name: str) -> str:
    """Address of a file; it changes with the content of any of them, so that browsers may keep it for good."""
    if name not in assets():
        raise KeyError(name)
    return f"/static/{_tag_of_all()}/{name}"


def language_of(request: Request) -> str:
    """The visitor's choice, else the first language of the browser that is spoken here."""
    chosen = request.cookies.get(LANGUAGE_COOKIE)
    if chosen in LANGUAGES:
        return chosen
    weighed = []
    for position, part in enumerate(request.headers.get("accept-language", "").split(",")[:20]):
        name, _, rest = part.strip().partition(";")
        try:
            weight = float(rest.strip().removeprefix("q=")) if rest else 1.0
        except ValueError:
            continue
        weighed.append((-weight, position, name.split("-")[0].lower()))
    return next((name for _, _, name in sorted(weighed) if name in LANGUAGES), "en")


def theme_of(request: Request) -> str | None:
    """Light or dark when the visitor chose one; None follows the system."""
    chosen = request.cookies.get(THEME_COOKIE)
    return chosen if chosen in THEMES else None


def texts_of(request: Request) -> Texts:
    """The words of the visitor's language."""
    return texts(language_of(request))


def world_of(request: Request) -> World:
    """The outside that this server was given."""
    world: World = request.app.state.world
    return world


def gib_text(value: float, places: int = 1) -> str:
    """Gibibytes without their unit: `72.9`."""
    return f"{value / _GIB:,.{places}f}"


def tokens_text(value: int) -> str:
    """A context as people say it: `8k`, `128k`, `1M`; others in full."""
    if value and value % (1 << 20) == 0:
        return f"{value >> 20}M"
    return f"{value >> 10}k" if value >= 1024 and value % 1024 == 0 else f"{value:,}"


@lru_cache(maxsize=1)
def _environment() -> Environment:
    made = Environment(
        loader=PackageLoader("fitserve.web"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    made.filters |= {
        "bytes": bytes_text, "count": count_text, "params": params_text, "rate": rate_text, "seconds": seconds_text,
        "gib": gib_text, "tokens": tokens_text, "engine": lambda name: value_text("engine", name),
    }  # fmt: skip
    made.globals |= {"asset": asset_url, "verdict_mark": verdict_mark, "basis_mark": basis_mark}
    return made


def page(
    request: Request, template: str, values: Mapping[str, Any], *, here: str = "", status: int = 200
) -> HTMLResponse:
    """A template with what it needs. `here` is the entry of the menu."""
    words = texts_of(request)

    def t(code: str, **parameters: Any) -> str:
        return words.text("web", code, parameters)

    frame = {
        "t": t, "words": words, "lang": words.language, "theme": theme_of(request), "here": here,
        "first": _FIRST, "more": _MORE, "path": request.url.path,
        "address": request.url.path + (f"?{request.url.query}" if request.url.query else ""),
    }  # fmt: skip
    body = _environment().get_template(template).render({**frame, **values})
    answer = HTMLResponse(body, status)
    answer.headers["content-language"] = words.language
    answer.headers["vary"] = "Accept-Language, Cookie"
    answer.headers["cache-control"] = "no-cache"
    return answer
