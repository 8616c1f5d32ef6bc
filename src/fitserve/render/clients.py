"""Settings of clients as JSON, on the terminal, as Markdown."""

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from fitserve.emit.clients.types import Settings
from fitserve.render.layout import indented
from fitserve.render.texts import Texts

Listed = Sequence[tuple[Mapping[str, Any], Settings]]


def clients_form(listed: Listed, texts: Texts) -> dict[str, Any]:
    """The answer of `clients`."""
    return {
        "schema_version": 1,
        "clients": [
            {
                "name": row["name"],
                "title": row["title"],
                "homepage": row["homepage"],
                "files": [{"path": file.path, "text": file.text} for file in settings.files],
                "env": dict(settings.env),
                "steps": steps_text(settings, texts),
            }
            for row, settings in listed
        ],
    }


def steps_text(settings: Settings, texts: Texts) -> list[str]:
    """The steps in words."""
    return [texts.text("client", step.code, dict(step.parameters)) for step in settings.steps]


def clients_view(listed: Listed, texts: Texts) -> RenderableType:
    """One block a client: its steps, its files to copy, its variables."""
    parts: list[RenderableType] = []
    for row, settings in listed:
        parts.append(Text(f"{row['title']} ({row['name']})", style="bold"))
        parts += [indented(f"· {step}", indent=2) for step in steps_text(settings, texts)]
        for file in settings.files:
            parts.append(Text(f"  {file.path}", style="bold"))
            parts += [Text(f"    {line}", no_wrap=True, overflow="ignore") for line in file.text.splitlines()]
        if settings.files:
            parts.append(Text(""))
    if not any(settings.steps for _, settings in listed):
        parts.append(indented(texts.label("client_flags"), style="dim", indent=0))
    return Group(*parts)


def clients_markdown(listed: Listed, texts: Texts) -> str:
    """One section a client."""
    parts: list[str] = []
    for row, settings in listed:
        parts.append(f"## {row['title']}")
        steps = steps_text(settings, texts)
        if steps:
            parts.append("\n".join(f"{number}. {step}" for number, step in enumerate(steps, start=1)))
        for file in settings.files:
            fence = "`" * 4 if "```" in file.text else "```"
            parts.append(f"`{file.path}`\n\n{fence}\n{file.text.rstrip()}\n{fence}")
    return "\n\n".join(parts) + "\n"
