"""`fitserve quantize`: the plan of a quantization job, its recipe, and with --run the job itself."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

from fitserve.cli.job_files import check_job_out, remember, save_job
from fitserve.cli.output import save_all, write
from fitserve.cli.verbs import world
from fitserve.emit.quantizers import QuantizerFiles, quantizer_files
from fitserve.foundation.errors import InputError
from fitserve.foundation.reasons import Verdict
from fitserve.launch.quantize_run import Done, Progress, Work, run_steps, runnable
from fitserve.ledger.types import Kind
from fitserve.plan.quantize import QuantizeAnswer, quantize
from fitserve.plan.quantize_request import QuantizeRequest
from fitserve.render.quantize import quantize_form, quantize_view
from fitserve.render.texts import Texts

_TELL_EVERY_S = 1.0


def run_quantize(values: dict[str, Any], texts: Texts) -> int:
    """`fitserve quantize MODEL`."""
    request = QuantizeRequest.read(
        **{key: value for key, value in values.items() if key not in {"json", "out", "lang"}}
    )
    answer = quantize(request, world())
    files = quantizer_files(answer)
    out = values.get("out")
    is_job = check_job_out(out, () if files is None else files.files)
    if is_job and out is not None and files is not None:
        # the last command ends the script; the ones before it stand above
        words = tuple(word for step in files.steps[-1:] for word in step.argv)
        save_job(out, files.files, words, files.install)
    done = None
    if request.run and not request.dry_run and files is not None and answer.verdict is Verdict.FITS:
        done = _run(request, answer, files, texts)
    write(
        lambda: quantize_form(answer, files, texts, done), quantize_view(answer, files, texts, done),
        bool(values.get("json")), None if is_job else out,
    )  # fmt: skip
    if not request.dry_run:
        form = quantize_form(answer, files, texts, done)
        title = f"{answer.model.id} -> {answer.weight_format.name}"
        remember(Kind.QUANTIZE, title, form)
    return 0 if answer.verdict is Verdict.FITS else 1


def _run(request: QuantizeRequest, answer: QuantizeAnswer, files: QuantizerFiles, texts: Texts) -> Done:
    """The job. Raises InputError for a tool that is not here, LaunchFailed for one that fails."""
    folder = Path.cwd()
    save_all(folder, files.files) if files.files else None
    needs, work = answer.needs, []
    assert needs is not None and answer.tool is not None
    for step in files.steps:
        mix = answer.weight_format.gguf_mix
        argv = runnable(step.argv, mix, request.program, folder)
        if argv is None:
            kind = "hint_llama" if mix is not None else "hint_python" if step.argv[0] == "python" else "hint_plain"
            raise InputError.of("tool_not_here", tool=step.argv[0], hint=texts.text("quantize", kind))
        size = needs.output_bytes.likely if step is files.steps[-1] else needs.intermediate_bytes
        work.append(Work(argv=argv, makes=Path(step.makes), bytes=round(size)))
    screen = Console(stderr=True, highlight=False)
    done = run_steps(work, _teller(screen, texts))
    for path in done.skipped:
        screen.print(texts.text("quantize", "skipped", {"path": str(path)}), style="dim")
    return done


def _teller(screen: Console, texts: Texts) -> Callable[[Progress], None]:
    """At most a line a second, and the last one."""
    told = [0.0]

    def tell(progress: Progress) -> None:
        now = time.monotonic()
        is_last = progress.done is not None and progress.done == progress.whole
        if now - told[0] < _TELL_EVERY_S and not is_last:
            return
        told[0] = now
        if progress.done is None:
            screen.print(progress.line, style="dim", soft_wrap=True)
        else:
            counted = {"done": progress.done, "whole": progress.whole}
            screen.print(f"{texts.text('quantize', 'progress', counted)}  {progress.line}", style="dim", soft_wrap=True)

    return tell
