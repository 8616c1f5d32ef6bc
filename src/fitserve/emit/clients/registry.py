"""All clients by name."""

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

from fitserve.emit.clients.assistants import claude_code, cline, continue_dev, open_webui, opencode
from fitserve.emit.clients.snippets import curl, openai_javascript, openai_python
from fitserve.emit.clients.types import Endpoint, Settings
from fitserve.foundation.errors import InputError
from fitserve.foundation.facts import load_toml


@lru_cache(maxsize=1)
def client_rows() -> Mapping[str, Mapping[str, Any]]:
    """The facts of each client, by its name."""
    return {row["name"]: row for row in load_toml("fitserve.emit.clients", "clients.toml")["clients"]}


def client_row(name: str) -> Mapping[str, Any]:
    """The facts of a client as people name it. Raises InputError for a name that is none."""
    for known, row in client_rows().items():
        if _plain(name) in {_plain(known), _plain(row["title"])}:
            return row
    raise InputError.of("unknown_client", given=name, known=tuple(client_rows()))


_MAKERS: Mapping[str, Callable[[Endpoint], Settings]] = {
    "cline": cline,
    "continue": continue_dev,
    "open-webui": open_webui,
    "opencode": opencode,
    "claude-code": lambda to: claude_code(to, client_rows()["claude-code"]["recommended_context_tokens"]),
    "openai-python": openai_python,
    "openai-javascript": openai_javascript,
    "curl": curl,
}


def settings_of(name: str, to: Endpoint) -> Settings:
    """The settings of a client for a served model."""
    return _MAKERS[name](to)


def _plain(name: str) -> str:
    return name.lower().replace(" ", "").replace("-", "").replace("_", "")
