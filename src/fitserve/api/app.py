"""The application: REST endpoints under /api/, pages for everything else, one guard before both."""

from dataclasses import dataclass

from fastapi import FastAPI
from starlette.middleware.gzip import GZipMiddleware

from fitserve import __version__
from fitserve.api.interface import add_interface
from fitserve.api.security import Guard, Limits
from fitserve.api.world import closed_world
from fitserve.render.texts import LANGUAGES, texts
from fitserve.web.site import router as pages
from fitserve.web.site import show_errors

MOST_LOG_BYTES = 20 << 20
_SMALLEST_PACKED = 600
_LIMITS = Limits(bodies=(("/diagnose", MOST_LOG_BYTES + (1 << 16)), ("/api/v1/diagnose", MOST_LOG_BYTES + (1 << 16))))


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """How a server is run. `token` is needed on any address that others reach."""

    host: str = "127.0.0.1"
    token: str | None = None
    allow_hub: bool = False
    limits: Limits = _LIMITS


def create_app(settings: Settings | None = None) -> FastAPI:
    """The ASGI application; what handlers need of the outside stands in `app.state`."""
    chosen = settings or Settings()
    for language in LANGUAGES:
        texts(language).tables()  # read whole before threads share them
    app = FastAPI(
        title="fitserve", version=__version__, docs_url=None, redoc_url=None, openapi_url="/api/v1/openapi.json"
    )
    app.state.world = closed_world(chosen.allow_hub)
    app.include_router(pages)
    show_errors(app)
    add_interface(app, chosen.host)
    app.add_middleware(GZipMiddleware, minimum_size=_SMALLEST_PACKED)
    app.add_middleware(Guard, host=chosen.host, token=chosen.token, limits=chosen.limits)
    return app
