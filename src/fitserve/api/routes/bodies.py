"""The body of a request to the fields of a request model."""

import json
from typing import Any

from starlette.requests import Request

from fitserve.foundation.errors import InputError


async def log_of(request: Request) -> dict[str, Any]:
    """A body of plain text as the field `log`; the other fields stand in the address."""
    query = request.query_params
    fields: dict[str, Any] = {name: tuple(query.getlist(name)) for name in ("gpu",) if name in query}
    fields |= {name: value for name, value in query.items() if name not in {"gpu", "lang"}}
    return fields | {"log": (await request.body()).decode("utf-8", "replace")}


def is_plain_text(request: Request) -> bool:
    """Whether the body says that it is text."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/plain"


async def fields_of(request: Request) -> dict[str, Any]:
    """The JSON object in the body; an empty body is an empty object. Raises InputError for anything else."""
    body = await request.body()
    if not body.strip():
        return {}
    try:
        found = json.loads(body, parse_constant=_no_number)
        json.dumps(found, ensure_ascii=False).encode()  # half of a surrogate pair is no text
    except (ValueError, RecursionError) as error:
        raise InputError.of("body_wrong", detail=(str(error).splitlines() or ["?"])[0][:120]) from error
    if not isinstance(found, dict):
        raise InputError.of("body_wrong", detail=f"{type(found).__name__}, not an object")
    return found


def _no_number(text: str) -> float:
    raise ValueError(f"{text} is not JSON")
