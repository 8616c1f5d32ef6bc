"""Requests of programs that differ from the flags of the command line: what is a file there is its content here."""

from typing import Annotated

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from fitserve.ask.request import Question
from fitserve.plan.fields import Bytes, Text, Texts
from fitserve.plan.request import ClientsRequest, Request, System


def _log(value: object) -> str:
    if not isinstance(value, str):
        raise PydanticCustomError("text_wrong", "text_wrong", {"given": repr(value)[:80]})
    return value


class ClientsQuery(ClientsRequest):
    """Which clients (all when none is named), and the server that they are to use."""

    client: Texts = ()


class DiagnoseQuery(Request):
    """A log as text, and what is known of the deployment that it is of."""

    log: Annotated[str, BeforeValidator(_log)]
    gpu: Texts = ()
    ram: Bytes | None = None
    os: System | None = None
    engine: Text | None = None
    engine_version: Text | None = None
    model: Text | None = None


class AskQuery(Request):
    """A question in words, or the id of a prepared one."""

    question: Question | None = None
    id: Text | None = None
