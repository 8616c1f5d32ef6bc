"""`fitserve eval`: a running server scored by lm_eval."""

import contextlib
import sys
from collections.abc import Iterator
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from fitserve.bench.eval_run import run_eval
from fitserve.bench.lm_eval import environment_folder, lm_eval_version
from fitserve.bench.request import EvalRequest
from fitserve.bench.types import OnProgress
from fitserve.bench.types import Progress as Seen
from fitserve.cli.bench import interruptible
from fitserve.cli.bench_ledger import own_server
from fitserve.cli.output import check_out, write
from fitserve.foundation.errors import WorldError
from fitserve.ledger.store import Ledger
from fitserve.ledger.types import Kind
from fitserve.render.evaluated import eval_dry_form, eval_dry_view, eval_form, eval_view
from fitserve.render.texts import Texts


def run_eval_verb(values: dict[str, Any], texts: Texts) -> int:
    """`fitserve eval URL`."""
    check_out(values.get("out"))
    request = EvalRequest.read(**{key: value for key, value in values.items() if key not in {"json", "out", "lang"}})
    as_json, out = bool(values.get("json")), values.get("out")
    if request.dry_run:
        write(lambda: eval_dry_form(request, texts), eval_dry_view(request, texts), as_json, out)
        return 0
    with interruptible() as cancel, _progress(texts) as told:
        result = run_eval(request, on_progress=told, cancel=cancel)
    _keep(request.url, eval_form(result, texts))
    write(lambda: eval_form(result, texts), eval_view(result, texts), as_json, out)
    return 0


def _keep(url: str, form: dict[str, Any]) -> None:
    """A row of the ledger, under the server where it is ours."""
    server = own_server(url)
    title = str(form.get("model") or url) if server is None else server.title
    try:
        Ledger().add(Kind.EVAL, title, form, parent=None if server is None else server.id)
    except WorldError as error:
        print(f"! {error}", file=sys.stderr)


@contextlib.contextmanager
def _progress(texts: Texts) -> Iterator[OnProgress]:
    """Says on standard error what is installed, before it is; on a terminal it draws how far the questions are."""
    console = Console(file=sys.stderr, highlight=False)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("{task.completed}/{task.total}"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("lm_eval", total=None)

        def told(seen: Seen) -> None:
            if seen.phase == "install":
                where = str(environment_folder())
                console.print(texts.label("eval_installing", version=lm_eval_version(), where=where))
            else:
                bar.update(task, completed=seen.done, total=seen.total or None)

        yield told
