"""The commands of a plan by shell, the steps around the start, and the settings of programs that use the server."""

from typing import Any

from fitserve.emit.clients.answer import clients
from fitserve.emit.commands import shell_texts
from fitserve.emit.forms import launch_files
from fitserve.emit.of_plan import launch_of, served_of
from fitserve.emit.steps import steps
from fitserve.engines.registry import engine
from fitserve.foundation.errors import InputError
from fitserve.plan.answer import launch_command
from fitserve.plan.request import ClientsRequest
from fitserve.render.clients import steps_text
from fitserve.render.json_form import gated_text
from fitserve.render.texts import Texts
from fitserve.search.evaluate import Evaluated

_SHELLS = (
    ("bash", "bash"), ("powershell", "PowerShell"), ("cmd", "cmd"), ("docker", "Docker"), ("compose", "Compose"),
)  # fmt: skip
_FILES = (("kubernetes", "Kubernetes", "k8s.yaml"), ("systemd", "systemd", "llm.service"))
_STEPS = ("download", "smoke_test", "eval", "benchmark")


def commands_view(item: Evaluated, words: Texts) -> dict[str, Any] | None:
    """Tabs with their texts; None for a candidate that could not start."""
    command = launch_command(item)
    if command is None:
        return None
    system = item.deployment.machine.host.os
    served = served_of(item, command)
    around = {name: step for name, step in steps(served).items() if step is not None}
    texts_by_shell = shell_texts(command, system in engine(item.deployment.engine).native_os)
    tabs = []
    for code, name in _SHELLS:
        text = texts_by_shell.get(code)
        if text:
            shell = code if code in {"powershell", "cmd"} else "bash"
            after = [(words.label(step), around[step].shells.get(shell)) for step in _STEPS if step in around]
            tabs.append(
                {"code": code, "name": name, "text": text.rstrip(), "steps": [pair for pair in after if pair[1]]}
            )
    tabs += _file_tabs(item)
    chosen = "powershell" if system == "windows" else "bash"
    gated = gated_text(served, words) if "download" in around and served.is_gated else ""
    files = [{"path": file.path, "text": file.text.rstrip()} for file in command.files]
    return {
        "tabs": tabs, "chosen": chosen, "gated": gated, "files": files,
        "clients": _clients(item, served.name, command.port, words),
    }  # fmt: skip


def _file_tabs(item: Evaluated) -> list[dict[str, Any]]:
    """Manifests; a form that the engine has no image for is left out."""
    launch = launch_of(item, "/opt/llm")
    found = []
    for code, name, file in _FILES:
        try:
            made = () if launch is None else launch_files(file, launch)
        except InputError:
            continue
        if made:
            found.append({"code": code, "name": name, "text": made[0].text.rstrip(), "steps": []})
    return found


def _clients(item: Evaluated, name: str, port: int, words: Texts) -> list[dict[str, Any]]:
    """Settings of every program that speaks the server's protocol."""
    deployment = item.deployment
    try:
        listed = clients((), ClientsRequest.read(
            url=f"http://127.0.0.1:{port}", model=name, context=deployment.context_tokens, engine=deployment.engine
        ))  # fmt: skip
    except InputError:
        return []  # a name that no client can hold
    return [
        {
            "name": row["title"], "page": row["homepage"], "steps": steps_text(settings, words),
            "files": [{"path": file.path, "text": file.text.rstrip()} for file in settings.files],
        }
        for row, settings in listed
        if settings.files
    ]  # fmt: skip
