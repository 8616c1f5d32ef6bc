"""What `check` is asked: a text, and what is known of the machine and the release."""

from typing import Annotated, Any

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from fitserve.plan.fields import Bytes, Text, Texts
from fitserve.plan.request import Request, System

_MOST_LETTERS = 200_000


def _script(value: object) -> str:
    """Any text of a command; tabs and line breaks are part of it."""
    if not isinstance(value, str) or not value.strip() or "\x00" in value:
        raise PydanticCustomError("script_empty", "script_empty", {"given": str(value)[:80]})
    if len(value) > _MOST_LETTERS:
        raise PydanticCustomError("script_too_long", "script_too_long", {"given": value[:40], "most": _MOST_LETTERS})
    return value


ScriptText = Annotated[str, BeforeValidator(_script)]


class CheckRequest(Request):
    """A pasted command or script. `engine_version` may be `installed`: the program of this machine is asked."""

    command: ScriptText
    gpu: Texts = ()
    ram: Bytes | None = None
    os: System | None = None
    engine: Text | None = None
    engine_version: Text | None = None
    model: Text | None = None


def as_dict(request: CheckRequest) -> dict[str, Any]:
    """The request as JSON."""
    return request.model_dump(mode="json")
