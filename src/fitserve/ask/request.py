"""What `ask` is asked on the command line and by the API."""

from typing import Annotated

from pydantic import BeforeValidator
from pydantic_core import PydanticCustomError

from fitserve.plan.fields import Address, Text
from fitserve.plan.request import Request

MOST_LETTERS = 8_000


def _question(value: object) -> str:
    """Any text; line breaks are part of a paragraph."""
    if not isinstance(value, str) or not value.strip() or "\x00" in value:
        raise PydanticCustomError("question_missing", "question_missing", {"given": ""})
    if len(value) > MOST_LETTERS:
        raise PydanticCustomError(
            "question_too_long", "question_too_long", {"given": "", "letters": len(value), "most": MOST_LETTERS}
        )
    return value.strip()


Question = Annotated[str, BeforeValidator(_question)]


class AskRequest(Request):
    """A question; `list` shows the prepared ones and `id` answers one of them."""

    question: Question | None = None
    id: Text | None = None
    list: bool = False
    llm_url: Address | None = None
    llm_model: Text | None = None
