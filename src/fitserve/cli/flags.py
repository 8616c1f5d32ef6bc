"""Flags from the request models: the same fields that the API takes, with their help in the language of the user."""

import inspect
from collections.abc import Callable
from typing import Annotated, Any

from cyclopts import Parameter
from pydantic.fields import FieldInfo

from fitserve.plan.request import Request
from fitserve.render.texts import Texts

_ALWAYS = ("lang", "out")


def command_of(
    request: type[Request] | None, run: Callable[[dict[str, Any]], int], texts: Texts, positional: str | None = None
) -> Callable[..., int]:
    """A function whose signature has a flag per field of `request`, then --lang, --json and --out; values arrive as text."""
    parameters = []
    fields: dict[str, FieldInfo] = dict(request.model_fields) if request is not None else {}
    is_list = positional is not None and (positional not in fields or _is_many(fields[positional]))
    if positional is not None and is_list:
        parameters.append(_list_argument(positional, texts))
        fields.pop(positional, None)
    for name, field in sorted(fields.items(), key=lambda item: item[0] != positional):
        parameters.append(_parameter(name, field, texts, name == positional))
    for name in _ALWAYS:
        help_text = texts.text("help", name)
        parameters.append(_keyword(name, Annotated[str | None, Parameter(help=help_text, show_default=False)], None))
    parameters.append(
        _keyword(
            "json", Annotated[bool, Parameter(help=texts.text("help", "json"), negative="", show_default=False)], False
        )
    )

    def call(*values: Any, **named: Any) -> int:
        given = {positional: list(values)} if is_list else dict(zip([positional], values, strict=False))
        return run({str(key): value for key, value in given.items()} | named)

    vars(call)["__signature__"] = inspect.Signature(parameters)  # where inspect.signature looks first (PEP 362)
    call.__annotations__ = {p.name: p.annotation for p in parameters}
    return call


def _keyword(name: str, annotation: Any, default: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)


def _list_argument(name: str, texts: Texts) -> inspect.Parameter:
    annotation = Annotated[str, Parameter(help=texts.text("help", name), show_default=False)]
    return inspect.Parameter(name, inspect.Parameter.VAR_POSITIONAL, annotation=annotation)


def _is_many(field: FieldInfo) -> bool:
    return "tuple" in str(field.annotation)


def _parameter(name: str, field: FieldInfo, texts: Texts, is_positional: bool) -> inspect.Parameter:
    help_text = texts.text("help", field.description or name)  # a description names a text of its own
    if is_positional:
        annotation = Annotated[str, Parameter(help=help_text, show_default=False)]
        if not field.is_required():
            maybe = Annotated[str | None, Parameter(help=help_text, show_default=False)]
            return inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY, default=None, annotation=maybe)
        return inspect.Parameter(name, inspect.Parameter.POSITIONAL_ONLY, annotation=annotation)
    if field.annotation in {bool, bool | None}:
        # what is off unless asked for needs no flag that turns it off
        negative = "" if field.default is False else None
        switch = Parameter(help=help_text, negative=negative, show_default=False)
        return _keyword(name, Annotated[bool | None, switch], None)
    kind = list[str] | None if _is_many(field) else str | None
    return _keyword(name, Annotated[kind, Parameter(help=help_text, negative="", show_default=False)], None)
