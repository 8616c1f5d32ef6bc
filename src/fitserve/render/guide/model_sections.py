"""What fits, the recommended set-ups, their speeds, engines compared, and memory against context and users."""

from fitserve.foundation.intervals import Interval
from fitserve.foundation.units import GIB
from fitserve.guides.hardware import choices
from fitserve.guides.judge import read_bytes
from fitserve.guides.types import EngineRow, FitRow, FitTable, Grid, Guide, Setup
from fitserve.render.charts import Line, MemoryBar, Range, Segment, interval_chart, line_chart, memory_bars
from fitserve.render.guide.words import (
    NONE,
    Words,
    engine_name,
    format_name,
    gb_text,
    gib_text,
    machine_name,
    model_name,
    range_text,
    rate_cell,
    split_text,
    tokens_text,
)  # fmt: skip
from fitserve.render.human import bytes_text, params_text
from fitserve.render.page.document import Block, Cell, Figure, Heading, Paragraph, Section, Table
from fitserve.render.speed_text import rate_text, seconds_text
from fitserve.search.evaluate import Evaluated, quality_class, quality_classes
from fitserve.search.speeds import load_of

_DRAWN = {
    "weights",
    "kv_cache",
    "recurrent_state",
    "activations",
    "cuda_graphs",
    "runtime",
    "compute_buffer",
    "output_buffer",
}
_KV_LAST = ("kv_cache",)


def fits_section(guide: Guide, words: Words) -> Section:
    """A table a part of the machine, and the sizes that formats allow."""
    context = guide.workload.context_tokens
    blocks: list[Block] = [Paragraph(text=words("fits_lead", context=context))]
    for table in guide.tables:
        blocks.append(Heading(text=_part_title(guide, table, words)))
        blocks.append(_rows(table, words))
        if table.limits:
            blocks.append(_limits(table, words))
    blocks.append(Paragraph(text=words("limits_note"), is_note=True))
    return Section(id="fits", title=words("title_fits"), blocks=tuple(blocks))


def _part_title(guide: Guide, table: FitTable, words: Words) -> str:
    if len(guide.tables) == 1:
        return machine_name(table.machine)
    code = "part_one" if len(table.machine.devices) == 1 else "part_all"
    return words(code, machine=machine_name(table.machine))


def _rows(table: FitTable, words: Words) -> Table:
    heads = words.heads("model", "format", ">file_gb", "verdict", ">context_at_hand", ">rate", "engine")
    return Table(headings=heads, rows=tuple(_fit_cells(row, words) for row in table.rows))


def _fit_cells(row: FitRow, words: Words) -> tuple[Cell, ...]:
    item, deployment = row.item, row.item.deployment
    verdict = words.verdict(item)
    if row.lack_bytes and not item.fits:
        verdict = Cell(text=verdict.text, verdict=verdict.verdict, note=words("lacks", lack_bytes=row.lack_bytes))
    return (
        Cell(text=model_name(deployment.model.id)),
        Cell(text=format_name(deployment.weight_format.name)),
        Cell(text=gb_text(row.file_bytes)),
        verdict,
        Cell(text=tokens_text(row.context_tokens)),
        rate_cell(item),
        Cell(
            text=engine_name(deployment.engine),
            note="" if deployment.machine.is_cpu_only or not item.fits else split_text(item, words),
        ),
    )


def _limits(table: FitTable, words: Words) -> Table:
    rows = tuple(
        (
            Cell(text=format_name(limit.format)),
            Cell(text=f"{limit.bits_per_weight:.2f}"),
            Cell(text=bytes_text(limit.usable_bytes)),
            Cell(text=bytes_text(limit.other_bytes)),
            Cell(text=f"{limit.params / 1e9:,.0f}B"),
        )
        for limit in table.limits
    )
    heads = words.heads("format", ">bits", ">usable", ">beside", ">most_params")
    return Table(headings=heads, rows=rows, caption=words("caption_limits"))


def setups_section(guide: Guide, words: Words) -> Section:
    """One row a purpose, why it was chosen, and the memory of the first as bars."""
    if not guide.setups:
        return Section(id="setups", title=words("title_setups"), blocks=(Paragraph(text=words("no_setup")),))
    heads = words.heads("purpose", "model", "format", "engine", ">file_gb", ">context_at_hand", ">rate", ">first_token")
    rows = tuple(_setup_cells(setup, words) for setup in guide.setups)
    blocks: list[Block] = [Paragraph(text=words("setups_lead")), Table(headings=heads, rows=rows)]
    blocks += [Heading(text=words("why_these")), *(_why(setup, words) for setup in guide.setups)]
    bars = memory_figure(guide.setups[0].item, words, "setup-memory")
    if bars is not None:
        blocks += [Heading(text=words("memory_of_setup", purpose=words(f"purpose_{guide.setups[0].purpose}"))), bars]
        blocks.append(memory_table(guide.setups[0].item, words))
    return Section(id="setups", title=words("title_setups"), blocks=tuple(blocks))


def _setup_cells(setup: Setup, words: Words) -> tuple[Cell, ...]:
    item, deployment = setup.item, setup.item.deployment
    longest = None if item.budget is None else item.budget.kv.max_context_tokens
    first = NONE if item.speed is None else seconds_text(item.speed.ttft_s.likely)
    return (
        Cell(text=words(f"purpose_{setup.purpose}")),
        Cell(text=model_name(deployment.model.id), note=params_text(deployment.model.params())),
        Cell(text=format_name(deployment.weight_format.name), note=_loss(item, words)),
        Cell(text=engine_name(deployment.engine), note=split_text(item, words)),
        Cell(text=gb_text(setup.file_bytes)),
        Cell(text=tokens_text(longest)),
        rate_cell(item),
        Cell(text=first),
    )


def _loss(item: Evaluated, words: Words) -> str:
    name, _ = quality_classes()[quality_class(item.deployment.model, item.deployment.weight_format)]
    return words.texts.text("quality", name)


def _why(setup: Setup, words: Words) -> Paragraph:
    """The rule, the place among ranked models, and who came next."""
    named = {"model": model_name(setup.item.deployment.model.id), "ranked": setup.ranked}
    text = words(f"why_{setup.purpose}", context=setup.context_tokens, pace=f"{setup.least_tok_per_s or 0:g}")
    if setup.item.speed is None:
        text += " " + words("by_ceiling", rate=choices()["ceilings"]["usual_gb_per_s"])
    if setup.place is not None:
        place = setup.place
        text += " " + words(
            "place", named, likely=f"{place.likely:.0f}", low=f"{place.low:.0f}", high=f"{place.high:.0f}"
        )
    else:
        text += " " + words("no_place", model=named["model"])
    if setup.next_models:
        text += " " + words("next", models=", ".join(model_name(name) for name in setup.next_models))
    return Paragraph(text=f"**{words(f'purpose_{setup.purpose}')}**: {text}")


def memory_figure(item: Evaluated, words: Words, chart_id: str) -> Figure | None:
    """Bars of memory, one a device that the plan uses."""
    budget = item.budget
    if budget is None or not budget.devices:
        return None
    bars = []
    for device in budget.devices[: max(1, item.deployment.device_count)]:
        parts = sorted(device.items, key=lambda part: part.code in _KV_LAST)
        segments = tuple(
            Segment(
                code=part.code if part.code in _DRAWN else "other", value=part.likely_bytes / GIB,
                label=f"{words.texts.text('memory', part.code)} {gib_text(part.likely_bytes)}",
                title=f"{words.texts.text('memory', part.code)} {bytes_text(part.likely_bytes)}",
            )
            for part in parts
        )  # fmt: skip
        bars.append(
            MemoryBar(
                name=words("bar_name", device=device.device, gpu=device.accelerator.name), segments=segments,
                capacity=device.accelerator.memory_bytes / GIB, limit=device.usable_bytes / GIB,
            )
        )  # fmt: skip
    spoken = "; ".join(f"{bar.name}: " + ", ".join(part.title for part in bar.segments) for bar in bars)
    title = words(
        "memory_title",
        model=model_name(item.deployment.model.id),
        format=format_name(item.deployment.weight_format.name),
    )
    svg = memory_bars(
        bars, chart_id=chart_id, title=title, description=spoken, unit="GiB",
        limit_text=words("limit_text", limit=f"{bars[-1].limit:.1f}"),
    )  # fmt: skip
    return Figure(svg=svg, caption="")


def memory_table(item: Evaluated, words: Words) -> Table:
    """The parts of the bars, device by device; they sum to the total."""
    budget = item.budget
    assert budget is not None
    used = budget.devices[: max(1, item.deployment.device_count)]
    codes = dict.fromkeys(part.code for device in used for part in device.items)
    rows = [
        (Cell(text=words.texts.text("memory", code)), *(Cell(text=gib_text(device.item(code))) for device in used))
        for code in codes
    ]
    rows.append((Cell(text=words("sum")), *(Cell(text=gib_text(device.used_bytes)) for device in used)))
    rows.append((Cell(text=words("usable")), *(Cell(text=gib_text(device.usable_bytes)) for device in used)))
    heads = (words("head_part"), *(f">{words('device_gib', device=device.device)}" for device in used))
    return Table(headings=heads, rows=tuple(rows))


def speeds_section(guide: Guide, words: Words) -> Section:
    """Speeds of the set-ups with their intervals, as a chart and a table."""
    load = load_of(guide.workload)
    prompt, output = load.prompt_tokens, load.output_tokens
    blocks: list[Block] = [Paragraph(text=words("speeds_lead", prompt=prompt, output=output))]
    ranges, rows = [], []
    for setup in _distinct(guide.setups):
        item = setup.item
        if item.speed is None:
            continue
        rate, name = (
            item.speed.per_user_tok_per_s,
            f"{model_name(item.deployment.model.id)} {format_name(item.deployment.weight_format.name)}",
        )
        ranges.append(
            Range(
                name=name,
                low=rate.low,
                likely=rate.likely,
                high=rate.high,
                text=f"{rate_text(rate.likely)} tok/s ({range_text(rate)})",
            )
        )
        prefill = item.speed.prefill_tok_per_s
        rows.append(
            (
                Cell(text=name), Cell(text=engine_name(item.deployment.engine)), rate_cell(item),
                _first_token(item.speed.ttft_s),
                Cell(text=NONE if prefill is None else rate_text(prefill.likely)),
            )
        )  # fmt: skip
    if ranges:
        described = "; ".join(f"{item.name}: {item.text}" for item in ranges)
        blocks.append(
            Figure(
                svg=interval_chart(
                    ranges, chart_id="speeds", title=words("title_speeds"), description=described, unit="tok/s"
                ),
                caption=words("speeds_caption"),
            )
        )
        blocks.append(
            Table(headings=words.heads("setup", "engine", ">rate", ">first_token", ">prefill"), rows=tuple(rows))
        )
    else:
        blocks = [Paragraph(text=words("speed_without")), _ceilings(guide, words)] if guide.setups else blocks
    reasons = dict.fromkeys(words.texts.reason(r) for s in guide.setups if s.item.speed for r in s.item.speed.reasons)
    blocks += [Paragraph(text=text, is_note=True) for text in reasons]
    return Section(id="speeds", title=words("title_speeds"), blocks=tuple(blocks))


def _ceilings(guide: Guide, words: Words) -> Table:
    """What memory of several kinds can read at most, in tokens a second."""
    memories = choices()["ceilings"]["memories"]
    rows = []
    for setup in _distinct(guide.setups):
        read, deployment = read_bytes(setup.item), setup.item.deployment
        name = f"{model_name(deployment.model.id)} {format_name(deployment.weight_format.name)}"
        figures = (Cell(text=rate_text(rate * 1e9 / read) if read else NONE) for _, rate in memories)
        rows.append((Cell(text=name), Cell(text=NONE if read is None else gb_text(read)), *figures))
    heads = tuple(f">{words('speed_ceiling', memory=memory, rate=rate)}" for memory, rate in memories)
    return Table(headings=(*words.heads("setup", ">read_gb"), *heads), rows=tuple(rows))


def _first_token(wait: Interval) -> Cell:
    return Cell(text=seconds_text(wait.likely), note=f"{seconds_text(wait.low)}–{seconds_text(wait.high)}")


def _distinct(setups: tuple[Setup, ...]) -> list[Setup]:
    found: dict[tuple[str, str, str], Setup] = {}
    for setup in setups:
        deployment = setup.item.deployment
        found.setdefault((deployment.model.id, deployment.weight_format.name, deployment.engine), setup)
    return list(found.values())


def engines_section(guide: Guide, words: Words) -> Section:
    """All engines with one model, fastest first."""
    if not guide.engines or guide.compared is None:
        return Section(id="engines", title=words("title_engines"), blocks=(Paragraph(text=words("no_setup")),))
    model = guide.compared.deployment.model
    context, users = guide.compared.deployment.context_tokens, choices()["comparison"]["crowd"]
    heads = words.heads("engine", "format", "verdict", ">rate", ">rate_crowd", ">memory_used", "why")
    rows = tuple(_engine_cells(row, words) for row in guide.engines)
    return Section(
        id="engines", title=words("title_engines"),
        blocks=(
            Paragraph(text=words("engines_lead", model=model_name(model.id), context=context, users=users)),
            Table(headings=heads, rows=rows),
        ),
    )  # fmt: skip


def _engine_cells(row: EngineRow, words: Words) -> tuple[Cell, ...]:
    item = row.item
    why = NONE if row.reason is None else words.texts.reason(row.reason)
    name = Cell(text=engine_name(row.engine), note=row.version)
    if item is None:
        return (
            name,
            Cell(text=NONE),
            Cell(text=words.texts.text("verdict", "not_supported"), verdict="unsup"),
            *(Cell(text=NONE) for _ in range(3)),
            Cell(text=why),
        )
    crowd = NONE
    if row.crowd is not None and row.crowd.speed is not None:
        crowd = rate_text(row.crowd.speed.output_tok_per_s.likely)
    used = NONE
    if item.fits and item.budget is not None:
        used = gib_text(sum(device.used_bytes for device in item.budget.devices) or item.budget.host_bytes)
        why = words("must_be_made") if item.needs_quantizing else split_text(item, words)
    return (
        name, Cell(text=format_name(item.deployment.weight_format.name)), words.verdict(item), rate_cell(item), Cell(text=crowd),
        Cell(text=used), Cell(text=why),
    )  # fmt: skip


def context_section(guide: Guide, words: Words) -> Section:
    """Memory against context and users: a chart, and the table of its figures."""
    grid = guide.grid
    if grid is None:
        return Section(id="context", title=words("title_context"), blocks=(Paragraph(text=words("no_setup")),))
    deployment = grid.item.deployment
    named = {"model": model_name(deployment.model.id), "format": format_name(deployment.weight_format.name)}
    per_token = 0 if grid.item.budget is None else grid.item.budget.kv.bytes_per_token
    heads = (words("head_context"), *(f">{words('users_gib', users=users)}" for users in grid.users))
    rows = tuple(
        (Cell(text=f"{tokens:,}"), *(_grid_cell(grid, tokens, users) for users in grid.users))
        for tokens in grid.contexts
    )
    blocks: list[Block] = [
        Paragraph(
            text=words(
                "context_lead",
                named,
                engine=deployment.engine,
                per_token_bytes=per_token,
                limit_bytes=grid.limit_bytes,
            )
        ),
        _grid_figure(grid, words, named),
        Table(headings=heads, rows=rows, caption=words("caption_grid")),
        Paragraph(text=words("grid_note"), is_note=True),
    ]
    return Section(id="context", title=words("title_context"), blocks=tuple(blocks))


def _grid_cell(grid: Grid, tokens: int, users: int) -> Cell:
    cell = grid.cell(tokens, users)
    text = f"{gib_text(cell.total_bytes)}"
    return Cell(text=text, note=f"KV {gib_text(cell.kv_bytes)}", verdict="fits" if cell.fits else "no")


def _grid_figure(grid: Grid, words: Words, named: dict[str, str]) -> Figure:
    lines = [
        Line(
            name=words("users", users=users),
            points=tuple((float(i), grid.cell(tokens, users).total_bytes / GIB) for i, tokens in enumerate(grid.contexts)),
        )
        for users in grid.users
    ]  # fmt: skip
    limit = grid.limit_bytes / GIB
    names = [f"{tokens // 1024}k" for tokens in grid.contexts]
    return Figure(
        svg=line_chart(
            lines, chart_id="grid", title=words("title_context"), description=words("grid_description", named),
            x_title=words("axis_context"), y_title=words("axis_memory"), x_names=names, limit=limit,
            limit_text=words("limit_text", limit=f"{limit:.1f}"), top=limit * 1.3,
        ),
        caption=words("grid_caption"),
    )  # fmt: skip
