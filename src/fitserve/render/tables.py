"""Answers as text for a terminal: tables that fit its width, the budget of the best plan, its command."""

import os
from collections.abc import Iterable
from io import StringIO

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from fitserve.emit.commands import shell_texts
from fitserve.emit.of_plan import served_of
from fitserve.emit.steps import steps
from fitserve.engines.contract import DeviceBudget, MemoryBudget, MemoryItem
from fitserve.engines.registry import engine
from fitserve.foundation.reasons import Reason, Severity, Verdict
from fitserve.plan.answer import Answer, launch_command, purpose_of
from fitserve.predict.model_quality import place
from fitserve.predict.prices import Rate
from fitserve.render.human import bytes_text, count_text, params_text
from fitserve.render.json_form import fix_text, gated_text, parallel_text
from fitserve.render.layout import Rows, headings_of, indented
from fitserve.render.speed_text import cost_cell, cost_line, load_rows, speed_cells, speed_lines
from fitserve.render.texts import Texts, value_text
from fitserve.search.evaluate import Evaluated, quality_class, quality_classes

_REJECTED_SHOWN = 12
_FIXES_SHOWN = 4
_FEWEST_ON_FRONT = 2
_BAR, _BAR_COLUMNS = "⣿", 32
"""Braille is one column wide in every terminal; the blocks are two in some."""


def plan_view(answer: Answer, texts: Texts) -> RenderableType:
    """The answer of `plan`."""
    if answer.unreadable is not None:
        return _unreadable(answer.unreadable, texts)
    parts: list[RenderableType] = [_title(answer)]
    shown = _one_per_format(answer.plans)
    if shown:
        parts += [
            Text(texts.label("plans"), style="bold green"),
            _plans(shown, answer.rate, texts),
            *_front(shown, texts),
            *_details(shown[0], texts, "budget", answer.rate),
        ]
        if shown[0].variants:
            from fitserve.render.variants import variants_view  # most plans have none

            parts += variants_view(shown[0], texts)
    else:
        parts.append(Text(texts.label("nothing_fits"), style="bold red"))
    if answer.rejected:
        parts += [Text(texts.label("rejected"), style="bold red"), *_rejected(answer.rejected, texts)]
    return Group(*parts, *_notes(answer.notes, texts))


def estimate_view(answer: Answer, texts: Texts) -> RenderableType:
    """The answer of `estimate`: the verdict, the whole budget, reasons and fixes."""
    if answer.unreadable is not None:
        return _unreadable(answer.unreadable, texts)
    item = (*answer.plans, *answer.rejected)[0]
    style = "bold green" if item.fits else "bold red"
    parts: list[RenderableType] = [_title(answer), Text(texts.text("verdict", str(item.verdict)), style=style)]
    parts += _details(item, texts, "budget_alone", answer.rate)
    if item.served is not None:
        from fitserve.render.served import served_view  # only an estimate simulates

        parts += served_view(item.served, answer.use, texts)
    if answer.load_curve:
        from fitserve.render.pictures import load_picture  # a plain list of plans draws nothing

        parts += [Text(texts.label("load_curve"), style="bold"), load_rows(answer.load_curve, texts)]
        parts += load_picture(answer.load_curve, texts)
    if answer.outlook:
        from fitserve.render.variants import outlook_view  # estimates alone look further

        parts += outlook_view(answer, texts)
    if item.fixes:
        parts.append(Text(texts.label("fixes"), style="bold"))
        parts += [indented(f"→ {fix_text(fix, texts)}") for fix in item.fixes]
    return Group(*parts, *_notes(answer.notes, texts))


def _unreadable(reason: Reason, texts: Texts) -> RenderableType:
    return Group(Text(texts.text("verdict", str(Verdict.UNKNOWN)), style="bold yellow"), Text(texts.reason(reason)))


def fit_view(answer: Answer, texts: Texts, limit: int) -> RenderableType:
    """The answer of `fit`: one row a model."""
    label = texts.label
    names = ("model", ">params", "engine", "format", "quality", ">memory_used", ">longest", ">per_user", ">rank_of_use")
    rows = tuple(_fit_row(item, answer.use, texts) for item in answer.plans[:limit])
    count = len(answer.plans) + answer.not_shown
    total = count + len(answer.rejected)
    parts: list[RenderableType] = [
        Rows(headings_of(names, texts), rows),
        Text(label("fit_count", count=count, total=total), style="bold"),
    ]
    if count > len(rows):
        parts.append(Text(label("shown", shown=len(rows), count=count), style="dim"))
    return Group(*parts, *_notes(answer.notes, texts))


def _fit_row(item: Evaluated, use: str, texts: Texts) -> tuple[str, ...]:
    deployment, budget = item.deployment, _budget_of(item)
    rank = place(deployment.model.id, purpose_of(use))
    used = sum(device.used_bytes for device in budget.devices) or budget.host_bytes
    return (
        deployment.model.id,
        params_text(deployment.model.params()),
        value_text("engine", deployment.engine),
        deployment.weight_format.name,
        quality_text(item, texts),
        bytes_text(used),
        count_text(budget.kv.max_context_tokens),
        speed_cells(item)[0],
        "–" if rank is None else f"{rank.likely:.0f}",
    )


def _budget_of(item: Evaluated) -> MemoryBudget:
    """The budget of a plan: one that fits has one."""
    assert item.budget is not None
    return item.budget


def _title(answer: Answer) -> Text:
    first = next(iter((*answer.plans, *answer.rejected)), None)
    if first is None:
        return Text("")
    deployment = first.deployment
    gpus = " + ".join(f"{count} x {gpu}" for gpu, count in deployment.machine.counts) or "CPU"
    return Text(
        f"{deployment.model.id} · {gpus} · {count_text(deployment.context_tokens)} × {deployment.concurrent_requests}",
        style="bold",
    )


def _one_per_format(plans: tuple[Evaluated, ...]) -> list[Evaluated]:
    """The best split of each engine and format; the others stand in the JSON."""
    seen: dict[tuple[str, str], Evaluated] = {}
    for item in plans:
        seen.setdefault((item.deployment.engine, item.deployment.weight_format.name), item)
    return list(seen.values())


def _front(shown: list[Evaluated], texts: Texts) -> list[RenderableType]:
    """The picture of plans that are weighed against each other."""
    if sum(bool(item.is_on_front) for item in shown) < _FEWEST_ON_FRONT:
        return []
    from fitserve.render.pictures import front_picture

    return front_picture(shown, texts)


def _plans(plans: list[Evaluated], rate: Rate, texts: Texts) -> Rows:
    names = (
        ">rank", "engine", "format", "quality", "split", ">total", ">longest", ">at_once", ">per_user", ">first_token",
        ">per_million",
    )  # fmt: skip
    rows = tuple(
        (
            str(rank),
            value_text("engine", item.deployment.engine),
            item.deployment.weight_format.name,
            quality_text(item, texts),
            _split(item, texts),
            bytes_text(_budget_of(item).total_bytes.likely),
            count_text(_budget_of(item).kv.max_context_tokens),
            count_text(_budget_of(item).kv.max_concurrency),
            *speed_cells(item),
            cost_cell(item, rate, texts),
        )
        for rank, item in enumerate(plans, start=1)
    )
    return Rows(headings_of(names, texts), rows, lead=3)


def quality_text(item: Evaluated, texts: Texts) -> str:
    """The quality class of a plan's weight format, in words."""
    name, _ = quality_classes()[quality_class(item.deployment.model, item.deployment.weight_format)]
    return texts.text("quality", name)


def _split(item: Evaluated, texts: Texts) -> str:
    deployment = item.deployment
    text = (
        parallel_text(deployment.tp, deployment.pp)
        if deployment.device_count > 1
        else f"{min(1, len(deployment.machine.devices))} GPU"
    )
    if not deployment.machine.devices:
        text = "CPU"
    if deployment.offload_layers:
        text += ", " + texts.label("offloaded", count=deployment.offload_layers)
    return text


def _details(item: Evaluated, texts: Texts, heading: str, rate: Rate) -> list[RenderableType]:
    """Budget, reasons and command of one plan."""
    deployment, budget = item.deployment, item.budget
    parts: list[RenderableType] = []
    if budget is not None:
        title = texts.label(
            heading,
            rank=1,
            engine=deployment.engine,
            version=deployment.engine_version,
            format=deployment.weight_format.name,
        )
        total = budget.total_bytes
        interval = texts.label("interval", low_bytes=total.low, high_bytes=total.high)
        parts += [Text(title, style="bold"), _budget(budget, texts)]
        parts += [indented(_cache(item, budget, texts), indent=2), indented(interval, style="dim", indent=2)]
        calibration = engine(deployment.engine).status["memory"]
        if calibration["state"] == "todo":
            text = texts.label("not_calibrated", engine=deployment.engine, text=calibration[texts.language])
            parts.append(indented(f"! {text}", indent=2))
    cost = cost_line(item, rate, texts)
    parts += [indented(line, indent=2) for line in (*speed_lines(item, texts), *([] if cost is None else [cost]))]
    parts += [indented(f"{_mark(reason)} {texts.reason(reason)}", indent=2) for reason in item.reasons]
    return parts + _command(item, texts)


def _command(item: Evaluated, texts: Texts) -> list[RenderableType]:
    command = launch_command(item)
    if command is None:
        return []
    system = item.deployment.machine.host.os
    shell = "powershell" if system == "windows" else "bash"
    text = shell_texts(command, system in engine(item.deployment.engine).native_os)[shell] or ""
    served = served_of(item, command)
    after = steps(served)
    parts: list[RenderableType] = []
    if after["download"] is not None and served.is_gated:
        parts.append(indented(f"! {gated_text(served, texts)}", indent=2))
    for file in command.files:
        parts += [Text(texts.label("file", path=file.path), style="bold"), *_verbatim(file.text)]
    parts += [Text(texts.label("command", shell=shell), style="bold"), *_verbatim(text)]
    test = after["smoke_test"]
    if test is not None:
        parts += [Text(texts.label("then_test"), style="bold"), *_verbatim(test.shells[shell] or "")]
    return [*parts, indented(texts.label("others"), style="dim", indent=2), Text("")]


def _verbatim(text: str) -> list[RenderableType]:
    """Lines to copy. No padding: blanks after a line's backslash would break the command."""
    return [Text(f"  {line}", no_wrap=True, overflow="ignore") for line in text.splitlines()]


def _budget(budget: MemoryBudget, texts: Texts) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 2))
    table.add_column(overflow="fold")
    table.add_column(justify="right", no_wrap=True)
    table.add_column(no_wrap=True, overflow="crop")
    for title, devices in _alike(budget.devices, texts):
        device = devices[0]
        table.add_row(Text(title, style="bold"), "")
        _items(table, device.items, texts, device.accelerator.memory_bytes)
        table.add_row(
            texts.label("usable", capacity_bytes=device.accelerator.memory_bytes), bytes_text(device.usable_bytes)
        )
        if not any(item.is_rest for item in device.items):
            table.add_row(texts.label("free"), bytes_text(device.usable_bytes - device.used_bytes))
    if budget.host_items:
        table.add_row(Text(texts.label("host"), style="bold"), bytes_text(budget.host_bytes))
        _items(table, budget.host_items, texts)
    return table


def _cache(item: Evaluated, budget: MemoryBudget, texts: Texts) -> str:
    kv = budget.kv
    per_token = texts.label(
        "kv_per_token",
        bytes=kv.bytes_per_token,
        context_bytes=kv.bytes_at_context,
        context_tokens=item.deployment.context_tokens,
    )
    return f"{texts.label('kv')} ({kv.format}): {per_token}"


def _items(table: Table, items: Iterable[MemoryItem], texts: Texts, whole_bytes: int = 0) -> None:
    """A row an item; of a device's memory, `whole_bytes`, with the share that it takes as a bar."""
    for item in items:
        rest = f" ({texts.label('rest')})" if item.is_rest else ""
        bar = _BAR * round(_BAR_COLUMNS * item.likely_bytes / whole_bytes) if whole_bytes else ""
        table.add_row(
            f"  {texts.text('memory', item.code)}{rest}", bytes_text(item.likely_bytes), Text(bar, style="dim")
        )


def _alike(devices: tuple[DeviceBudget, ...], texts: Texts) -> list[tuple[str, list[DeviceBudget]]]:
    """Devices with the same budget are shown once."""
    groups: dict[tuple[object, ...], list[DeviceBudget]] = {}
    for device in devices:
        key = (
            device.accelerator.id,
            device.usable_bytes,
            tuple((item.code, item.likely_bytes) for item in device.items),
        )
        groups.setdefault(key, []).append(device)
    titled = []
    for group in groups.values():
        gpu = group[0].accelerator.id
        many = len(group) > 1
        titled.append(
            (
                texts.label("devices_equal", count=len(group), gpu=gpu)
                if many
                else texts.label("device", device=group[0].device, gpu=gpu),
                group,
            )
        )
    return titled


def _mark(reason: Reason) -> str:
    return {Severity.BLOCKER: "✗", Severity.WARNING: "!", Severity.NOTE: "·"}[reason.severity]


def _rejected(items: tuple[Evaluated, ...], texts: Texts) -> list[RenderableType]:
    """One block for all formats that are rejected for the same reasons; the proposal of another model stands below."""
    groups: dict[tuple[str, str, tuple[str, ...]], list[Evaluated]] = {}
    for item in items:
        why = tuple(texts.reason(reason) for reason in item.reasons if _is_shown(reason, item))
        groups.setdefault((item.deployment.engine, str(item.verdict), why), []).append(item)
    parts: list[RenderableType] = []
    for (engine_id, verdict, why), alike in list(groups.items())[:_REJECTED_SHOWN]:
        formats = ", ".join(item.deployment.weight_format.name for item in alike)
        title = Text(f"{value_text('engine', engine_id)} {formats}", style="bold")
        parts.append(title.append(f"  {texts.text('verdict', verdict)}", style="not bold red"))
        parts += [indented(sentence) for sentence in why]
        fixes = dict.fromkeys(fix_text(fix, texts) for item in alike for fix in item.fixes if fix.knob != "model")
        if fixes:
            parts.append(indented("→ " + " · ".join(list(fixes)[:_FIXES_SHOWN])))
    if len(groups) > _REJECTED_SHOWN:
        parts.append(Text(texts.label("more_rejected", count=len(groups) - _REJECTED_SHOWN), style="dim"))
    others = dict.fromkeys(fix_text(fix, texts) for item in items for fix in item.fixes if fix.knob == "model")
    return parts + [Text(f"→ {text}") for text in others]


def _is_shown(reason: Reason, item: Evaluated) -> bool:
    """How much memory it would take is beside the point where it cannot run at all; the JSON has every reason."""
    if item.verdict is Verdict.NOT_SUPPORTED:
        return reason.verdict is Verdict.NOT_SUPPORTED
    return reason.severity is not Severity.NOTE


def _notes(notes: tuple[Reason, ...], texts: Texts) -> list[RenderableType]:
    if not notes:
        return []
    return [
        Text(texts.label("notes"), style="bold"),
        *(indented(f"· {texts.reason(note)}", style="dim", indent=2) for note in notes),
    ]


_FILE_COLUMNS = 110


def print_view(view: RenderableType) -> None:
    """Writes a view to standard output, as wide as the terminal."""
    console = Console(highlight=False)
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=_FILE_COLUMNS, highlight=False)
    # a command is never cut: what does not fit the line goes on beyond its edge
    console.print(view, crop=False)


def as_text(view: RenderableType) -> str:
    """A view as plain text."""
    with StringIO() as stream:
        Console(width=_FILE_COLUMNS, highlight=False, file=stream, color_system=None).print(view, crop=False)
        return stream.getvalue()
