"""The ledger for people: a list, one run, and the report of attempts (environment, attempts, conclusion, alternatives)."""

import platform
import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fitserve.emit.shells import bash_line
from fitserve.hardware.types import Machine
from fitserve.ledger.shape import figures, run_form
from fitserve.ledger.types import Kind, Run, State
from fitserve.render.forms import SCHEMA_VERSION
from fitserve.render.human import bytes_text
from fitserve.render.texts import Texts

_LOG_LINES = 8
_ATTEMPTS = (Kind.SERVE, Kind.BENCH, Kind.EVAL, Kind.VERIFY, Kind.QUANTIZE, Kind.FINETUNE)


def runs_form(runs: Sequence[Run]) -> dict[str, Any]:
    """JSON of a list."""
    return {"schema_version": SCHEMA_VERSION, "runs": [run_form(run) for run in runs]}


def runs_view(runs: Sequence[Run], texts: Texts) -> RenderableType:
    """A row a run, newest first."""
    if not runs:
        return Text(texts.text("runs", "none"))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("id", "kind", "state", "when", "title", "figures"):
        table.add_column(texts.text("runs", f"col_{name}"))
    for run in runs:
        style = "red" if run.state in {State.FAILED, State.LOST} else ""
        table.add_row(
            str(run.id), texts.text("runs", f"kind_{run.kind.value}"), Text(_state(run, texts), style=style),
            _when(run.started_s), run.title, figures_text(run, texts),
        )  # fmt: skip
    return table


def corrections_view(known: Mapping[str, Mapping[str, Any]], texts: Texts) -> RenderableType:
    """What was measured here beside what had been predicted."""
    if not known:
        return Text(texts.text("runs", "no_corrections"))
    table = Table(box=None, pad_edge=False, header_style="bold")
    for name in ("name", "deployment", "metric", "predicted", "measured", "ratio"):
        table.add_column(texts.text("runs", f"col_{name}"))
    for name, row in known.items():
        likely, measured = row["predicted"]["likely"], row["measured"]
        cells = (f"{row['engine']} · {row['deployment']}", row["metric"], f"{likely:.4g}", f"{measured:.4g}")
        table.add_row(name, *cells, f"×{measured / likely:.2f}")
    return table


def run_view(run: Run, texts: Texts) -> RenderableType:
    """One run with its command, figures, cause and the end of its log."""
    parts: list[RenderableType] = [Text(f"{run.id} · {run.title}", style="bold")]
    for name, value in _facts(run, texts):
        parts.append(Text.assemble((f"{name}: ", "dim"), value))
    lines = (run.log_tail or "").splitlines()[-_LOG_LINES:]
    parts += [Text(f"  {line}", style="dim", no_wrap=True, overflow="ellipsis") for line in lines]
    return Group(*parts)


def _facts(run: Run, texts: Texts) -> list[tuple[str, str]]:
    """(name, value) in the order of the report."""
    rows = [
        ("kind", texts.text("runs", f"kind_{run.kind.value}")),
        ("when", _when(run.started_s)),
        ("state", _state(run, texts)),
    ]
    if run.ended_s is not None:
        rows.append(("duration", f"{run.ended_s - run.started_s:.1f} s"))
    argv = (run.command or {}).get("argv")
    if argv:
        rows.append(("command", bash_line(argv)))
    if shown := figures_text(run, texts):
        rows.append(("figures", shown))
    if (error := (run.result or {}).get("error")) is not None:
        rows.append(("error", str(error)))
    if run.cause is not None:
        rows.append(("cause", str(run.cause.get("text") or run.cause.get("code"))))
        for fix in (run.cause.get("fixes") or ())[:3]:
            rows.append(("fix", str(fix.get("text"))))
    return [(texts.text("runs", f"col_{name}"), value) for name, value in rows]


def _state(run: Run, texts: Texts) -> str:
    return texts.text("serve", f"run_state_{run.state.value}")


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds))


def figures_text(run: Run, texts: Texts) -> str:
    """The figures of a run in a line."""
    found = figures(run)
    if run.kind is Kind.SERVE:
        parts = [texts.text("runs", "fig_ready", {"seconds": found["ready_s"]})] if "ready_s" in found else []
        if found.get("resident_bytes"):
            parts.append(f"RAM {bytes_text(found['resident_bytes'])}")
        return " · ".join(parts)
    if run.kind is Kind.BENCH and "output_tok_per_s" in found:
        parts = [f"{found['output_tok_per_s']:,.1f} tok/s"]
        parts += [
            f"{label} {found[name]:,.1f} ms"
            for name, label in (("ttft_ms", "TTFT"), ("inter_token_ms", "TPOT"))
            if found.get(name)
        ]
        if found.get("failed"):
            parts.append(texts.text("runs", "fig_failed", {"count": found["failed"]}))
        return " · ".join(parts)
    return " · ".join(f"{name} {value}" for name, value in found.items() if not isinstance(value, (dict, list)))


def report_markdown(runs: Sequence[Run], machine: Machine, alternatives: Sequence[str], texts: Texts) -> str:
    """The attempts in the order in which they were made, what they come to, and what would run instead."""
    tried = [run for run in reversed(runs) if run.kind in _ATTEMPTS]
    lines = [f"# {texts.text('runs', 'report_title')}", "", f"## {texts.text('runs', 'report_environment')}", ""]
    lines += [f"- {name}: {value}" for name, value in _environment(machine, texts)]
    lines += ["", f"## {texts.text('runs', 'report_attempts')}", "", *_overview(tried, texts)]
    for number, run in enumerate(tried, start=1):
        lines += ["", f"### {number}. {run.title}", "", *_attempt(run, texts)]
    lines += ["", f"## {texts.text('runs', 'report_conclusion')}", "", *_conclusion(tried, texts)]
    if alternatives:
        lines += ["", f"## {texts.text('runs', 'report_alternatives')}", "", *(f"- {line}" for line in alternatives)]
    return "\n".join(lines) + "\n"


def _environment(machine: Machine, texts: Texts) -> list[tuple[str, str]]:
    gpus = ", ".join(f"{count} x {gpu}" for gpu, count in machine.counts) or texts.text("runs", "no_gpu")
    ram = bytes_text(machine.host.ram_bytes) if machine.host.ram_bytes else "?"
    system = f"{platform.system()} {platform.release()} ({platform.machine()})"
    values = {"system": system, "processor": machine.host.cpu_name or "?", "ram": ram, "gpus": gpus}
    return [(texts.text("runs", f"env_{name}"), value) for name, value in values.items()]


def _overview(tried: Sequence[Run], texts: Texts) -> list[str]:
    if not tried:
        return [texts.text("runs", "none")]
    heads = [texts.text("runs", f"col_{name}") for name in ("number", "kind", "title", "state", "figures")]
    rows = [f"| {' | '.join(heads)} |", f"|{'---|' * len(heads)}"]
    for number, run in enumerate(tried, start=1):
        cells = (
            str(number), texts.text("runs", f"kind_{run.kind.value}"), run.title, _state(run, texts),
            figures_text(run, texts) or _cell((run.result or {}).get("error") or ""),
        )  # fmt: skip
        rows.append(f"| {' | '.join(_cell(cell) for cell in cells)} |")
    return rows


def _cell(text: str) -> str:
    return " ".join(str(text).replace("|", "\\|").split())[:160]


def _attempt(run: Run, texts: Texts) -> list[str]:
    lines = []
    for name, value in _facts(run, texts):
        whole = value.splitlines() or [""]
        is_command = name == texts.text("runs", "col_command")
        lines += [f"- {name}:", "", "```sh", *whole, "```"] if is_command else [f"- {name}: {' '.join(whole)}"]
    log = (run.log_tail or "").splitlines()[-_LOG_LINES:]
    if log and run.state in {State.FAILED, State.LOST}:
        lines += ["", "```text", *log, "```"]
    return lines


def _conclusion(tried: Sequence[Run], texts: Texts) -> list[str]:
    good = [run for run in tried if run.state in {State.READY, State.STOPPED, State.DONE}]
    bad = [run for run in tried if run.state in {State.FAILED, State.LOST}]
    lines = [texts.text("runs", "conclusion_counts", {"tried": len(tried), "good": len(good), "bad": len(bad)})]
    causes = [run.cause for run in bad if run.cause is not None]
    for text in dict.fromkeys(str(cause.get("text") or cause.get("code")) for cause in causes):
        lines.append(texts.text("runs", "conclusion_cause", {"cause": text}))
    best = max((run for run in good if run.kind is Kind.BENCH), key=_throughput, default=None)
    if best is not None:
        lines.append(texts.text("runs", "conclusion_best", {"title": best.title, "figures": figures_text(best, texts)}))
    return [f"- {line}" for line in lines]


def _throughput(run: Run) -> float:
    found: Mapping[str, Any] = figures(run)
    return float(found.get("output_tok_per_s") or 0.0)
