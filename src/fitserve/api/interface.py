"""Puts the REST interface into an application."""

from fastapi import APIRouter, FastAPI

from fitserve.api.desk import Desk
from fitserve.api.replies import VERSIONED, json_errors
from fitserve.api.routes import kept
from fitserve.api.routes.asking import asking_router
from fitserve.api.routes.catalogues import catalogues_router
from fitserve.api.schemas.openapi import openapi
from fitserve.api.security import is_loopback


def add_interface(app: FastAPI, host: str) -> None:
    """Endpoints under /api/v1/, their description, errors as JSON. World (`app.state.world`) and texts must be ready."""
    app.state.desk = Desk()
    router = APIRouter(prefix=VERSIONED, include_in_schema=False)
    app.include_router(catalogues_router(), include_in_schema=False)
    router.include_router(asking_router())
    is_private = is_loopback(host)
    if is_private:
        router.include_router(kept.router)
    app.include_router(router)
    described = openapi(has_runs=is_private)
    app.openapi = lambda: described  # type: ignore[method-assign]
    json_errors(app)
