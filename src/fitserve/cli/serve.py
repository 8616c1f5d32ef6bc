"""`fitserve serve`, `ps`, `stop`: a server from a plan, a model, a command, or the demo."""

import contextlib
import sys
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console

from fitserve.cli.output import check_out, write
from fitserve.cli.run_diagnosis import diagnosed
from fitserve.cli.this_machine import measure_processor
from fitserve.cli.verbs import world
from fitserve.emit.clients.answer import clients
from fitserve.foundation.errors import InputError
from fitserve.launch.demo import NAME as DEMO
from fitserve.launch.demo import demo_gguf
from fitserve.launch.prepare import Prepared, prepare
from fitserve.launch.processes import Kept, resident_bytes
from fitserve.launch.request import DEFAULT_TIMEOUT_S, ServeRequest
from fitserve.launch.session import Event, Running, ServerFailed, drained, followed, launch, reconciled, stop_run
from fitserve.launch.ways import embedded_engine
from fitserve.ledger.places import run_folder
from fitserve.ledger.store import Ledger
from fitserve.ledger.types import Run
from fitserve.plan.request import ClientsRequest
from fitserve.render.clients import clients_form
from fitserve.render.diagnosed import diagnosis_form, diagnosis_view
from fitserve.render.serving import (
    dry_run_form,
    dry_run_view,
    event_text,
    failed_form,
    ps_form,
    ps_view,
    serve_form,
    serve_view,
)
from fitserve.render.texts import Texts

_LOOPBACK = {"127.0.0.1", "localhost", "::1"}
_DEMO_SETTINGS = {"gpu": ["none"], "context": "4096", "concurrency": "2"}


def run_serve(values: dict[str, Any], texts: Texts) -> int:
    """`fitserve serve MODEL|PLAN|COMMAND|demo`."""
    check_out(values.get("out"))
    as_json = bool(values.get("json"))
    fields = {key: value for key, value in values.items() if key not in {"json", "out", "lang"}}
    if str(fields.get("model") or "") == DEMO:
        usual = {**_DEMO_SETTINGS, "engine": [embedded_engine().id]}
        fields |= {"model": str(demo_gguf())} | {k: v for k, v in usual.items() if not fields.get(k)}
    request = ServeRequest.read(**fields)
    screen = Console(stderr=True, highlight=False)
    measure_processor()
    prepared = _prepared(request, _downloads(screen, texts))
    if request.dry_run:
        write(lambda: dry_run_form(prepared, texts), dry_run_view(prepared, texts), as_json, values.get("out"))
        return 0
    if request.host not in _LOOPBACK and not request.api_key:
        screen.print("! " + texts.text("serve", "key_without", {"host": request.host}), style="yellow")
    for reason in prepared.notes:
        screen.print(f"· {texts.reason(reason)}", style="dim")
    ledger = Ledger()
    try:
        tell = _teller(screen, texts, with_log=not request.detach)
        running = launch(prepared, ledger, request.timeout or DEFAULT_TIMEOUT_S, tell)
    except ServerFailed as failed:
        return _report_failure(failed, texts, as_json, screen)
    return _serving(request, prepared, running, ledger, texts, values)


def _prepared(request: ServeRequest, tell: Callable[[str, int, int], None]) -> Prepared:
    from fitserve.cli.serve_command import prepared_command

    return prepared_command(request) or prepare(request, world(), tell)


def _teller(screen: Console, texts: Texts, with_log: bool) -> Callable[[Event], None]:
    """Prints stages, and the engine's own lines while somebody stays with the server."""

    def tell(event: Event) -> None:
        if with_log or event.stage is not None:
            screen.print(event_text(event, texts), soft_wrap=not screen.is_terminal)

    return tell


def _downloads(screen: Console, texts: Texts) -> Callable[[str, int, int], None]:
    """Progress of a download: at most a line a second."""
    last = [0.0]

    def tell(name: str, have_bytes: int, total_bytes: int) -> None:
        if time.monotonic() - last[0] >= 1.0 or have_bytes >= total_bytes:
            last[0] = time.monotonic()
            values = {"name": name, "have_bytes": have_bytes, "total_bytes": total_bytes}
            screen.print("○ " + texts.text("serve", "downloading", values))

    return tell


def _serving(
    request: ServeRequest, prepared: Prepared, running: Running, ledger: Ledger, texts: Texts, values: dict[str, Any]
) -> int:
    """Prints the result; then lets go of the server, or stays with it until it ends."""
    shown = _clients(prepared, running, texts)
    snippets = [_curl(prepared, running)]
    form = serve_form(prepared, running, texts, shown)
    view = serve_view(prepared, running, texts, snippets, request.detach)
    write(lambda: form, view, bool(values.get("json")), values.get("out"))
    sys.stdout.flush()
    if request.detach:
        running.owner.life.write(b"\n")
        running.owner.let_go()
        return 0
    return _stay(running, ledger, texts)


def _stay(running: Running, ledger: Ledger, texts: Texts) -> int:
    """Streams the log until the engine ends or the user ends it."""
    screen = Console(stderr=True, highlight=False)
    kept = running.owner.kept
    try:
        with followed(running.owner) as lines:
            while kept.is_alive and kept.exit is None:
                for line in drained(lines):
                    screen.print(event_text(Event(line=line), texts), soft_wrap=not screen.is_terminal)
                time.sleep(0.2)
    except KeyboardInterrupt:
        stopped = stop_run(ledger, running.run)
        screen.print(texts.text("serve", "stopped", {"title": stopped.title, "id": stopped.id}))
        return 0
    finally:
        with contextlib.suppress(OSError):
            running.owner.let_go()
    told = kept.exit or {}
    reconciled(ledger)
    if told.get("asked_by") == "stop":
        screen.print(texts.text("serve", "stopped", {"title": running.run.title, "id": running.run.id}))
        return 0
    how = told.get("signal") or f"exit {told.get('code', '?')}"
    failed = ServerFailed(
        ledger.get(running.run.id), running.run.title, texts.text("serve", "engine_ended", {"how": how})
    )
    return _report_failure(failed, texts, False, screen)


def _report_failure(failed: ServerFailed, texts: Texts, as_json: bool, screen: Console) -> int:
    """What went wrong, the likely cause with the changed command, and where the log lies. Always 3."""
    answer = diagnosed(failed.run, texts)
    if as_json:
        form = diagnosis_form(answer, texts)
        write(lambda: failed_form(failed.action, failed.run, failed.detail, texts, form), "", True, None)
    screen.print("✗ " + texts.text("serve", "failed", {"title": failed.action}), style="bold red", markup=False)
    for line in failed.detail.splitlines():
        screen.print(f"  {line}", soft_wrap=True, markup=False)
    if answer.is_found:
        screen.print(diagnosis_view(answer, texts))
    log = run_folder(failed.run.id) / "engine.log"
    told = texts.text("serve", "failed_log", {"path": log, "id": failed.run.id})
    screen.print(told, style="dim", soft_wrap=True, markup=False)
    return 3


def _clients(prepared: Prepared, running: Running, texts: Texts) -> dict[str, Any]:
    """Settings of every client for this server."""
    request = ClientsRequest.read(
        url=f"{prepared.base}/v1", model=running.smoke.model, engine=prepared.engine_id,
        context=running.smoke.context_tokens or prepared.context_tokens,
    )  # fmt: skip
    return clients_form(clients((), request), texts)


def _curl(prepared: Prepared, running: Running) -> str:
    key = " -H 'Authorization: Bearer …'" if prepared.api_key else ""
    model = running.smoke.model
    body = f'{{"model":"{model}","messages":[{{"role":"user","content":"hello"}}],"max_tokens":32}}'
    return f"curl {prepared.base}/v1/chat/completions{key} -H 'Content-Type: application/json' -d '{body}'"


def run_ps(values: dict[str, Any], texts: Texts) -> int:
    """`fitserve ps`: servers that this user started and that run."""
    check_out(values.get("out"))
    rows = [(run, _resident(run)) for run in reconciled(Ledger())]
    write(lambda: ps_form(rows), ps_view(rows, texts), bool(values.get("json")), values.get("out"))
    return 0


def _resident(run: Run) -> int | None:
    return None if run.process is None else resident_bytes(Kept.read(run.process))


def run_stop(values: dict[str, Any], texts: Texts) -> int:
    """`fitserve stop RUN|PORT|all …`."""
    check_out(values.get("out"))
    ledger = Ledger()
    open_runs = reconciled(ledger)
    wanted = [str(text) for text in values.get("run") or ()]
    if not wanted:
        raise InputError.of("flag_missing", flag="RUN")
    stopped: list[Run] = []
    for text in wanted:
        found = [run for run in open_runs if text in {"all", str(run.id), str((run.process or {}).get("port"))}]
        if not found and text != "all":
            raise InputError.of("server_unknown", given=text)
        stopped += [stop_run(ledger, run) for run in found if run.id not in {one.id for one in stopped}]
    form = {"schema_version": 1, "stopped": [{"run": run.id, "title": run.title} for run in stopped]}
    told = [texts.text("serve", "stopped", {"title": run.title, "id": run.id}) for run in stopped]
    text = "\n".join(told) or texts.text("serve", "none_running")
    write(lambda: form, text, bool(values.get("json")), values.get("out"))
    return 0
