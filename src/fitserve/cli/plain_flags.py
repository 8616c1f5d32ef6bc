"""Flags of a plain command line, read without the parser of the command line: loading that costs a fifth of a short run.

Only lines that leave nothing to decide are read here: `--flag value`, `--flag=value`, `--json`, one positional argument (or
a list of them). Anything else - help, an unknown or repeated flag, a value that begins with a dash - is None, and the
parser, which makes the messages, gets the line. A test holds both to the same values.
"""

from collections.abc import Sequence
from typing import Any

from fitserve.plan.request import Request

_ALWAYS = frozenset({"lang", "out"})


def _is_many(annotation: object) -> bool:
    """Whether a field takes several values (as cli/flags.py has it)."""
    return "tuple" in str(annotation)


def plain_values(argv: Sequence[str], request: type[Request] | None, positional: str | None) -> dict[str, Any] | None:
    """Values of the flags after the verb by field name; None where the line is not plain."""
    fields = {} if request is None else request.model_fields
    takes_list = positional is not None and (positional not in fields or _is_many(fields[positional].annotation))
    switches = {"json", *(name for name, field in fields.items() if field.annotation in {bool, bool | None})}
    flags = {f"--{name.replace('_', '-')}": name for name in (*fields, *_ALWAYS, "json") if name != positional}
    values: dict[str, Any] = {}
    words: list[str] = []
    rest = list(reversed(argv))
    while rest:
        word = rest.pop()
        if not word.startswith("-"):
            words.append(word)
            continue
        flag, equals, value = word.partition("=")
        name = flags.get(flag)
        if name in switches and name not in values and not equals:
            values[name] = True
            continue
        if name is None or name in switches or not (equals or rest):
            return None
        value = value if equals else rest.pop()
        if not value or value.startswith("-"):
            return None
        if name in fields and _is_many(fields[name].annotation):
            values.setdefault(name, []).append(value)
        elif name in values:
            return None
        else:
            values[name] = value
    return _with_words(values, words, positional, takes_list)


def _with_words(
    values: dict[str, Any], words: list[str], positional: str | None, takes_list: bool
) -> dict[str, Any] | None:
    """The values with the positional argument, which must be there once unless it is a list; None where it is not so."""
    if any(not word for word in words):
        return None
    if positional is not None and takes_list:
        return values | {positional: words}
    if len(words) != (positional is not None):
        return None
    return values | dict(zip([positional] if positional else [], words, strict=True))
