"""The answer of `check`: findings by line, the corrected command, the plan; as JSON and for a terminal."""

from collections.abc import Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from rich.console import Group, RenderableType
from rich.text import Text

from fitserve.check.answer import CheckAnswer, notes_of
from fitserve.check.mend import Checked
from fitserve.check.safety import hidden
from fitserve.emit.commands import shell_texts
from fitserve.engines.contract import LaunchCommand
from fitserve.engines.registry import engine
from fitserve.foundation.reasons import Reason, Severity
from fitserve.plan.answer import launch_command
from fitserve.render.forms import reason_form
from fitserve.render.human import bytes_text, count_text
from fitserve.render.json_form import command_form, plan_form
from fitserve.render.layout import indented
from fitserve.render.texts import Texts, value_text

_MARKS = {Severity.BLOCKER: ("✗", "bold red"), Severity.WARNING: ("!", "yellow"), Severity.NOTE: ("·", "dim")}


def check_form(answer: CheckAnswer, texts: Texts) -> dict[str, Any]:
    """JSON of the contract; `statements` has every command of the text."""
    main = answer.main
    judged = main.evaluated if main is not None else None
    return {
        "schema_version": 1,
        "ok": answer.is_ok,
        "findings": [reason_form(shown(finding.reason), texts) for finding in answer.findings],
        "corrected": corrected_form(answer),
        "plan": None if judged is None else plan_form(judged, texts),
        "instead": None if answer.instead is None else plan_form(answer.instead, texts),
        "shell": answer.script.syntax,
        "statements": [_statement_form(item) for item in answer.checked],
        "notes": [reason_form(reason, texts) for reason in notes_of(answer)],
    }


def shown(reason: Reason) -> Reason:
    """A reason without secrets."""
    parameters = {key: hidden(value) if isinstance(value, str) else value for key, value in reason.parameters.items()}
    return replace(reason, parameters=MappingProxyType(parameters))


def _statement_form(item: Checked) -> Mapping[str, Any]:
    call = item.call
    return {
        "line": call.statement.line,
        "program": call.program,
        "engine": call.engine.id if call.engine is not None else None,
        "engine_version": item.version,
        "ok": item.is_ok,
        "corrected": None if item.corrected is None else [hidden(word) for word in item.corrected],
    }


def corrected_command(answer: CheckAnswer) -> tuple[LaunchCommand, bool] | None:
    """(the right command, whether it is native to Windows); None when nothing has to change."""
    if answer.instead is not None:
        command = launch_command(answer.instead)
        chosen = engine(answer.instead.deployment.engine)
        return None if command is None else (command, "windows" in chosen.native_os)
    main = answer.main
    if main is None:
        return None
    words = main.corrected
    if words is None and any(finding.reason.code.startswith(_SYNTAX) for finding in answer.script.findings):
        words = main.call.statement.argv  # the words are right, only the shell text was not
    if words is None:
        return None
    argv = tuple(hidden(word) for word in words)
    env = {name: hidden(value) for name, value in main.call.statement.env.items()}
    return _with_container(main, LaunchCommand(argv=argv, env=env), answer.request.os)


def _with_container(main: Checked, bare: LaunchCommand, os_name: str | None) -> tuple[LaunchCommand, bool]:
    """The command with the image that runs it, where it is the plain command of an engine on a known machine."""
    made, judged = main.call.engine, main.evaluated
    if made is None or main.call.container is not None or judged is None or not judged.fits:
        return bare, True
    usual = launch_command(judged)
    if usual is None:
        return bare, True
    return replace(usual, argv=bare.argv, env=bare.env, then=(), files=()), os_name is None or os_name in made.native_os


_SYNTAX = ("comment_after", "space_after", "continuation_not", "quote_", "heredoc_")


def corrected_form(answer: CheckAnswer) -> dict[str, Any] | None:
    """`corrected` of the contract."""
    found = corrected_command(answer)
    if found is None:
        return None
    command, is_native = found
    main = answer.main
    version = main.corrected_version if main is not None and answer.instead is None else None
    return {**command_form(command, is_native), "engine_version": version}


def check_view(answer: CheckAnswer, texts: Texts) -> RenderableType:
    """Findings, then the corrected command for the shell of the text."""
    parts: list[RenderableType] = [_verdict(answer, texts)]
    several = len({finding.reason.parameters.get("line") for finding in answer.findings}) > 1
    for finding in answer.findings:
        parts.append(_finding(shown(finding.reason), texts, several))
    parts += _plan_lines(answer, texts)
    corrected = corrected_command(answer)
    if corrected is not None:
        parts += _corrected(answer, corrected, texts)
    for reason in notes_of(answer):
        parts.append(indented(f"· {texts.reason(reason)}"))
    return Group(*parts)


def _verdict(answer: CheckAnswer, texts: Texts) -> Text:
    if not answer.checked:
        return Text(texts.label("check_nothing"), style="yellow")
    blockers = sum(1 for finding in answer.findings if finding.reason.severity is Severity.BLOCKER)
    if blockers:
        return Text(texts.label("check_wrong", count=blockers), style="bold red")
    return Text(texts.label("check_clean"), style="bold green")


def _finding(reason: Reason, texts: Texts, several: bool) -> RenderableType:
    mark, style = _MARKS[reason.severity]
    line = reason.parameters.get("line")
    place = f"{texts.label('line', line=line)}: " if several and line else ""
    return indented(f"{mark} {place}{texts.reason(reason)}", style=style)


def _plan_lines(answer: CheckAnswer, texts: Texts) -> list[RenderableType]:
    main = answer.main
    judged = main.evaluated if main is not None else None
    if judged is None or judged.budget is None:
        return []
    budget, deployment = judged.budget, judged.deployment
    gpus = " + ".join(f"{count} x {gpu}" for gpu, count in deployment.machine.counts) or "CPU"
    named = f"{value_text('engine', deployment.engine)} {deployment.engine_version}, {deployment.weight_format.name}"
    return [
        Text(texts.label("check_memory"), style="bold"),
        indented(
            texts.label(
                "check_memory_line", what=named, gpus=gpus, total=bytes_text(budget.total_bytes.likely),
                weights=bytes_text(budget.weights_bytes), tokens=count_text(budget.kv.capacity_tokens),
            )
        ),
    ]  # fmt: skip


def _corrected(answer: CheckAnswer, corrected: tuple[LaunchCommand, bool], texts: Texts) -> list[RenderableType]:
    command, is_native = corrected
    shells = shell_texts(command, is_native)
    windows = answer.script.syntax in {"powershell", "cmd"} or answer.request.os == "windows"
    shell = ("cmd" if answer.script.syntax == "cmd" else "powershell") if windows else "bash"
    main = answer.main
    code = "corrected" if answer.instead is None else "instead_runs"
    parts: list[RenderableType] = [Text(texts.label(code, shell=shell), style="bold green")]
    text = shells.get(shell) or shells["bash"] or ""
    parts += [Text("  " + line, overflow="ignore", no_wrap=True) for line in text.splitlines()]
    if main is not None and main.corrected_version is not None and answer.instead is None:
        parts.append(indented(texts.label("corrected_version", version=main.corrected_version)))
    return parts
