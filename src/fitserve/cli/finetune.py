"""`fitserve finetune`: memory, time and cost of a training run, and the files of its trainer. It runs nothing."""

from typing import Any

from fitserve.cli.job_files import check_job_out, remember, save_job
from fitserve.cli.output import write
from fitserve.cli.verbs import world
from fitserve.emit.trainers import trainer_files
from fitserve.emit.trainers.types import run_of
from fitserve.foundation.reasons import Verdict
from fitserve.ledger.types import Kind
from fitserve.plan.finetune import finetune
from fitserve.plan.finetune_request import FinetuneRequest
from fitserve.plan.finetune_serving import served
from fitserve.render.finetune import finetune_form, finetune_view
from fitserve.render.texts import Texts


def run_finetune(values: dict[str, Any], texts: Texts) -> int:
    """`fitserve finetune MODEL`."""
    request = FinetuneRequest.read(
        **{key: value for key, value in values.items() if key not in {"json", "out", "lang"}}
    )
    answer = finetune(request, world())
    files = trainer_files(request.trainer, run_of(answer))
    out = values.get("out")
    is_job = check_job_out(out, files.files)
    server = served(answer, world()) if answer.verdict is not Verdict.NOT_SUPPORTED else None
    if is_job and out is not None:
        save_job(out, files.files, files.argv, files.install)
    write(
        lambda: finetune_form(answer, files, server, texts), finetune_view(answer, files, server, texts),
        bool(values.get("json")), None if is_job else out,
    )  # fmt: skip
    if not request.dry_run:
        form = finetune_form(answer, files, None, texts)
        remember(Kind.FINETUNE, f"{answer.model.id} · {answer.job.method}", form)
    return 0 if answer.verdict is Verdict.FITS else 1
