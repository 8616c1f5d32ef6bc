"""Secrets on the line, servers open to the network, and redirections that were meant as version ranges."""

import re
from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address
from typing import Any

from fitserve.check.options import ParsedOptions
from fitserve.check.programs import Invocation
from fitserve.check.types import Edit, Finding
from fitserve.engines.contract import Engine
from fitserve.foundation.reasons import not_supported, warning

_SECRET = re.compile(r"\b(hf_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_\-]{16,}|gh[pousr]_[A-Za-z0-9]{20,}|AKIA[A-Z0-9]{16})\b")
_SECRET_NAME = re.compile(r"(HF_TOKEN|HUGGING_?FACE_?HUB_TOKEN|HUGGINGFACE_TOKEN|API_KEY|SECRET|PASSWORD)$")
_ALL_ADDRESSES = {str(IPv4Address(0)), "::", "[::]", "*"}
HIDDEN = "…"


def hidden(text: str) -> str:
    """A text without the secrets in it."""
    return _SECRET.sub(lambda match: match[1][:3] + HIDDEN, text)


def common_findings(call: Invocation) -> Iterator[Finding]:
    """Findings about any program."""
    for index, word in enumerate(call.statement.words):
        name, _, value = word.text.partition("=")
        is_named = bool(_SECRET_NAME.search(name)) and bool(value) and not value.startswith(("$", "%", "{"))
        if _SECRET.search(word.text) or is_named:
            shown = name if is_named else hidden(word.text)
            edits = (Edit(index, index + 1, (name,)),) if is_named and call.container is not None else ()
            yield Finding(reason=warning("secret_on_line", option=shown, what=shown, line=word.line), edits=edits)
    for name, value in call.statement.env.items():
        if _SECRET.search(value):
            yield Finding(reason=warning("secret_on_line", option=name, what=name, line=call.statement.line))
    for redirect in call.statement.redirects:
        index = -1 if redirect.glued_to is None else redirect.glued_to
        if 0 <= index < len(call.statement.words) and _is_version(redirect.target):
            written = f"{call.statement.words[index].text}{redirect.sign}{redirect.target}"
            yield Finding(
                reason=not_supported("requirement_is_redirect", option=written, what=written, line=redirect.line),
                edits=(Edit(index, index + 1, (written,)),),
            )


def _is_version(target: str) -> bool:
    return bool(re.fullmatch(r"=?\d+(\.\d+)*", target))


def safety_findings(made: Engine, call: Invocation, parsed: ParsedOptions) -> Iterator[Finding]:
    """A server that everybody on the network can use, without a key."""
    reads: Mapping[str, Any] = made.facts["command_line"].get("reads", {})
    host = parsed.last(tuple(reads.get("host", ())))
    if host is None or host.value not in _ALL_ADDRESSES or call.container is not None:
        return
    keys = tuple(reads.get("api_key", ()))
    if keys and parsed.last(keys) is None and not any("API_KEY" in name for name in call.env):
        line = call.line_of(call.start + host.start)
        yield Finding(
            reason=warning("open_without_key", option=host.written, what=host.text, line=line, key_option=keys[0])
        )
