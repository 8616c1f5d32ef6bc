"""A plan as Markdown: the answer, then the files, the command and the steps around it, each to copy."""

from fitserve.emit.commands import shell_texts
from fitserve.emit.of_plan import served_of
from fitserve.emit.steps import Step, steps
from fitserve.engines.registry import engine
from fitserve.plan.answer import launch_command
from fitserve.render.json_form import gated_text
from fitserve.render.texts import Texts
from fitserve.search.evaluate import Evaluated

_STEPS = ("smoke_test", "eval", "benchmark")


def plan_markdown(view: str, item: Evaluated | None, texts: Texts) -> str:
    """The answer as it stands in the terminal, and sections for the best plan."""
    parts = [_fenced(view, "text")]
    command = None if item is None else launch_command(item)
    if item is not None and command is not None:
        system = item.deployment.machine.host.os
        shell = "powershell" if system == "windows" else "bash"
        served = served_of(item, command)
        made = steps(served)
        if made["download"] is not None and served.is_gated:
            parts.append(gated_text(served, texts))
        parts += _section(texts.label("download"), made["download"], shell)
        for file in command.files:
            parts += [f"## {texts.label('file', path=file.path)}", _fenced(file.text, "")]
        text = shell_texts(command, system in engine(item.deployment.engine).native_os)[shell] or ""
        parts += [f"## {texts.label('command', shell=shell)}", _fenced(text, shell)]
        for name in _STEPS:
            parts += _section(texts.label(name), made[name], shell)
    return "\n\n".join(parts) + "\n"


def _section(title: str, step: Step | None, shell: str) -> list[str]:
    text = None if step is None else step.shells[shell]
    return [] if text is None else [f"## {title}", _fenced(text, shell)]


def _fenced(text: str, language: str) -> str:
    """A code block whose fence is longer than any in the text."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}{language}\n{text.rstrip()}\n{fence}"
