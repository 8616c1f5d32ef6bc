"""`clients`: the settings that answer a request."""

from collections.abc import Mapping, Sequence
from typing import Any

from fitserve.emit.clients.registry import client_row, client_rows, settings_of
from fitserve.emit.clients.types import Endpoint, Settings, told
from fitserve.engines.registry import engine, engines
from fitserve.foundation.errors import InputError, Problem
from fitserve.plan.request import ClientsRequest


def clients(names: Sequence[str], request: ClientsRequest) -> list[tuple[Mapping[str, Any], Settings]]:
    """Facts and settings of the clients named, of all where none is named; a bare list when no server is given either.

    Raises InputError for an unknown client or engine, a missing flag, or a client whose protocol the server lacks.
    """
    wanted = [client_row(name) for name in names] or list(client_rows().values())
    speaks = None if request.engine is None else _protocols(request.engine)
    if not names and request.url is None and request.model is None and request.context is None:
        return [(row, Settings()) for row in wanted]
    to = _endpoint(request)
    return [(row, _settings(row, to, speaks, request.engine, bool(names))) for row in wanted]


def _endpoint(request: ClientsRequest) -> Endpoint:
    if request.url is None or request.model is None or request.context is None:
        given = {"--url": request.url, "--model": request.model, "--context": request.context}
        missing = [flag for flag, value in given.items() if value is None]
        raise InputError(*(Problem("flag_missing", (("flag", flag),)) for flag in missing))
    return Endpoint(
        base=request.url, model=request.model, context_tokens=request.context, key_variable=request.api_key_env
    )


def _protocols(name: str) -> tuple[str, ...]:
    found: tuple[str, ...] = tuple(engine(name.partition("==")[0]).facts["identity"].get("apis", ("openai",)))
    return found


def _settings(
    row: Mapping[str, Any], to: Endpoint, speaks: tuple[str, ...] | None, engine_name: str | None, is_named: bool
) -> Settings:
    """Settings, or why there are none: an error for a client that was asked for, a step where all are listed."""
    protocol = row.get("protocol", "openai")
    if protocol == "openai" or (speaks is not None and protocol in speaks):
        return settings_of(row["name"], to)
    if speaks is None:
        if is_named:
            raise InputError.of("client_needs_engine", client=row["title"])
        return Settings(steps=(told("needs_engine", client=row["title"]),))
    if is_named:
        known = tuple(e.id for e in engines() if protocol in e.facts["identity"].get("apis", ()))
        raise InputError.of("client_protocol_missing", engine=engine_name or "", client=row["title"], known=known)
    return Settings(steps=(told("protocol_missing", client=row["title"], engine=engine_name or ""),))
