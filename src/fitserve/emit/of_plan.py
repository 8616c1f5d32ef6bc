"""From a judged plan to what its command, its files and its first requests need to know."""

from pathlib import PurePath
from typing import TYPE_CHECKING

from fitserve.emit.steps import Served
from fitserve.engines.contract import LaunchCommand
from fitserve.engines.registry import engine
from fitserve.models.catalog.lookup import rows
from fitserve.plan.answer import launch_command
from fitserve.search.evaluate import Evaluated

if TYPE_CHECKING:
    from fitserve.emit.forms import Launch


def launch_of(item: Evaluated, folder: str) -> "Launch | None":
    """The launch of a plan whose files go into `folder`; None when it could not start."""
    from fitserve.emit.forms import Launch  # every form of every file is loaded with it

    command = launch_command(item)
    if command is None:
        return None
    deployment, chosen = item.deployment, engine(item.deployment.engine)
    return Launch(
        command=command,
        is_native=deployment.machine.host.os in chosen.native_os,
        device_count=deployment.device_count if deployment.machine.devices else 0,
        weights_bytes=item.budget.weights_bytes if item.budget else 0,
        health_path=chosen.facts["identity"].get("health_path"),
        folder=folder,
    )


def served_of(item: Evaluated, command: LaunchCommand) -> Served:
    """The model of a plan as clients of its server see it."""
    deployment, identity = item.deployment, engine(item.deployment.engine).facts["identity"]
    model = deployment.model
    mix = deployment.weight_format.gguf_mix
    source = deployment.repository or (None if mix else model.id)
    known = not (model.is_local or item.needs_quantizing or source is None or _is_file(source))
    row = rows().get(model.id)
    return Served(
        repository=source if known else None,
        file=f"*{mix}*" if mix else None,
        tokenizer=model.id,
        name=command.served_name or deployment.repository or model.id,
        port=command.port,
        context_tokens=deployment.context_tokens,
        concurrency=deployment.concurrent_requests,
        most_at_once=item.budget.max_num_seqs if item.budget else 1,
        is_chat=row is None or "chat" in (row["tags"] or ()),
        has_completions=not identity.get("chat_only", False),
        is_gated=command.needs_token,
    )


def _is_file(name: str) -> bool:
    return bool(PurePath(name).suffix.lower() == ".gguf") or name.startswith(("/", ".", "~")) or name.count("/") != 1
