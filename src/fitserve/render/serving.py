"""A started server, the list of servers, and what went wrong: for the terminal and as JSON."""

import time
from collections.abc import Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fitserve.emit.shells import bash_line
from fitserve.engines.registry import engine
from fitserve.launch.prepare import Prepared
from fitserve.launch.session import Event, Running
from fitserve.launch.stages import Stage
from fitserve.ledger.types import Run
from fitserve.render.forms import SCHEMA_VERSION, reason_form
from fitserve.render.human import bytes_text, count_text
from fitserve.render.texts import Texts

_SHOWN_LETTERS = 60
_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def event_text(event: Event, texts: Texts) -> Text:
    """A line of the engine, dim; a stage with its mark and the seconds since the start."""
    if event.stage is not None:
        mark = "●" if event.stage is Stage.READY else "○"
        name = texts.text("serve", f"stage_{event.stage.value}")
        return Text(
            f"{mark} {name}  {event.since_s:.1f} s", style="bold green" if event.stage is Stage.READY else "bold"
        )
    return Text(f"  {event.line}", style="dim", no_wrap=True, overflow="ellipsis")


def _engine_text(prepared: Prepared, texts: Texts) -> str:
    title = str(engine(prepared.engine_id).facts["identity"]["title"])
    version = prepared.deployment.engine_version if prepared.deployment is not None else ""
    return texts.text("serve", f"way_{prepared.way.kind.value}", {"engine": f"{title} {version}".strip()})


def serve_form(prepared: Prepared, running: Running, texts: Texts, clients: dict[str, Any]) -> dict[str, Any]:
    """JSON of a server that answers."""
    return {
        "schema_version": SCHEMA_VERSION,
        "run": running.run.id,
        "state": "ready",
        "url": f"{prepared.base}/v1",
        "model": running.smoke.model,
        "engine": prepared.engine_id,
        "way": prepared.way.kind.value,
        "context_tokens": running.smoke.context_tokens or prepared.context_tokens,
        "ready_s": round(running.ready_s, 2),
        "smoke": running.smoke.form,
        "memory": dict((running.run.result or {}).get("memory") or {}),
        "log": (running.run.process or {}).get("folder"),
        "notes": [reason_form(reason, texts) for reason in prepared.notes],
        "clients": clients,
    }


def serve_view(
    prepared: Prepared, running: Running, texts: Texts, snippets: Sequence[str], detached: bool
) -> RenderableType:
    """The address, what was tested, how to use it and how to end it."""
    rows = Table.grid(padding=(0, 2))
    for label, value in _rows(prepared, running, texts, detached):
        rows.add_row(Text(texts.text("serve", f"label_{label}"), style="dim"), value)
    title = texts.text("serve", "ready", {"model": running.smoke.model or prepared.title, "url": f"{prepared.base}/v1"})
    tests = Text("  ".join(_check_text(name, state, texts) for name, state in _states(running)))
    parts: list[RenderableType] = [Text(title, style="bold green"), rows, tests]
    for snippet in snippets:
        parts += [Text(""), Text(snippet, no_wrap=True, overflow="ignore")]
    return Group(*parts)


def _rows(prepared: Prepared, running: Running, texts: Texts, detached: bool) -> list[tuple[str, str]]:
    smoke = running.smoke
    context = smoke.context_tokens or prepared.context_tokens
    how = "read" if smoke.context_tokens else "value"
    rows = [
        ("engine", _engine_text(prepared, texts)),
        ("key", texts.text("serve", f"label_key_{'given' if prepared.api_key else 'none'}")),
    ]
    if context is not None:
        rows.append(("context", texts.text("serve", f"label_context_{how}", {"tokens": count_text(context)})))
    if running.resident_bytes is not None:
        rows.append(("memory", _memory_text(running, texts)))
    rows.append(("ready", f"{running.ready_s:.1f} s"))
    if smoke.first_token_s is not None:
        text = " ".join(smoke.text.split())[:_SHOWN_LETTERS]
        rows.append(
            ("first", texts.text("serve", "label_first_value", {"text": text, "seconds": f"{smoke.first_token_s:.2f}"}))
        )
    folder = (running.run.process or {}).get("folder")
    rows.append(("log", f"{folder}/engine.log"))
    rows.append(
        ("stop", texts.text("serve", f"stop_{'detached' if detached else 'foreground'}", {"id": running.run.id}))
    )
    return rows


def _memory_text(running: Running, texts: Texts) -> str:
    memory = (running.run.result or {}).get("memory") or {}
    grown, predicted = memory.get("grown_bytes"), memory.get("predicted_bytes")
    if not grown or not predicted:
        return texts.text("serve", "label_memory_plain", {"have_bytes": running.resident_bytes})
    difference = f"{100 * (predicted / grown - 1):+.1f} %"
    values = {"have_bytes": running.resident_bytes, "grown_bytes": grown, "predicted_bytes": predicted}
    return texts.text("serve", "label_memory_value", values | {"difference": difference})


def _states(running: Running) -> list[tuple[str, str]]:
    return [(check.name, check.state) for check in running.smoke.checks]


def _check_text(name: str, state: str, texts: Texts) -> str:
    mark = {"passed": "✓", "failed": "✗"}.get(state, "–")
    return f"{mark} {texts.text('serve', f'check_{name}')}"


def dry_run_form(prepared: Prepared, texts: Texts) -> dict[str, Any]:
    """What would be started."""
    return {
        "schema_version": SCHEMA_VERSION, "state": "dry_run", "engine": prepared.engine_id, "way": prepared.way.kind.value,
        "argv": list(prepared.way.argv), "env": dict(prepared.env), "url": f"{prepared.base}/v1",
        "files": [{"path": file.path, "text": file.text} for file in prepared.files],
        "then": [list(step) for step in prepared.then],
        "notes": [reason_form(reason, texts) for reason in prepared.notes],
    }  # fmt: skip


def dry_run_view(prepared: Prepared, texts: Texts) -> RenderableType:
    """The same for a terminal."""
    lines = [f"{name}={value}" for name, value in prepared.env.items()]
    lines += [bash_line(prepared.way.argv), *(bash_line(step) for step in prepared.then)]
    parts: list[RenderableType] = [Text(texts.text("serve", "dry_run"), style="bold")]
    parts += [Text(f"  {line}", no_wrap=True, overflow="ignore") for line in lines]
    return Group(*parts, *(Text(f"· {texts.reason(reason)}", style="dim") for reason in prepared.notes))


def failed_form(title: str, run: Run, detail: str, texts: Texts, diagnosis: dict[str, Any] | None) -> dict[str, Any]:
    """A start that failed, with what is known of the cause."""
    return {
        "schema_version": SCHEMA_VERSION, "run": run.id, "state": "failed", "title": title, "error": detail,
        "log_tail": (run.log_tail or "").splitlines()[-20:], "diagnosis": diagnosis,
    }  # fmt: skip


def ps_form(rows: Sequence[tuple[Run, int | None]]) -> dict[str, Any]:
    """Servers that run."""
    return {
        "schema_version": SCHEMA_VERSION,
        "servers": [
            {
                "run": run.id, "title": run.title, "state": run.state.value, "url": f"{(run.process or {}).get('url')}/v1",
                "model": (run.process or {}).get("model"), "pid": (run.process or {}).get("engine_pid"),
                "resident_bytes": resident, "started_s": run.started_s,
            }
            for run, resident in rows
        ],
    }  # fmt: skip


def ps_view(rows: Sequence[tuple[Run, int | None]], texts: Texts) -> RenderableType:
    """The same as a table."""
    if not rows:
        return Text(texts.text("serve", "none_running"))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("id", "model", "state", "url", "pid", "memory", "age"):
        table.add_column(texts.text("serve", f"ps_{name}"))
    for run, resident in rows:
        process = run.process or {}
        table.add_row(
            str(run.id), run.title, texts.text("serve", f"run_state_{run.state.value}"), f"{process.get('url', '')}/v1",
            str(process.get("engine_pid", "")), "" if resident is None else bytes_text(resident), age_text(run.started_s),
        )  # fmt: skip
    return table


def age_text(started_s: float, now_s: float | None = None) -> str:
    """`42 s`, `5 min`, `3 h`, `2 d`."""
    seconds = max(0.0, (time.time() if now_s is None else now_s) - started_s)
    for size, unit in ((_DAY, "d"), (_HOUR, "h"), (_MINUTE, "min")):
        if seconds >= size:
            return f"{int(seconds // size)} {unit}"
    return f"{int(seconds)} s"
