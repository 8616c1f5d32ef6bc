"""Blocks of an answer written out in a language: paragraphs, lists, tables, code."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from fitserve.ask.types import (
    Against,
    AskAnswer,
    Block,
    Bullets,
    Code,
    Command,
    Costs,
    Curve,
    Grid,
    Heading,
    Memory,
    Numbers,
    PlanTable,
    Say,
)
from fitserve.emit.commands import shell_texts
from fitserve.emit.of_plan import served_of
from fitserve.emit.steps import steps
from fitserve.engines.contract import MemoryItem
from fitserve.engines.registry import engine
from fitserve.foundation.reasons import Reason, Severity, Verdict
from fitserve.render.cost import cost_lines
from fitserve.render.human import bytes_text, count_text
from fitserve.render.json_form import fix_text, gated_text
from fitserve.render.layout import headings_of
from fitserve.render.speed_text import cost_line, load_rows, rate_text, speed_cells, speed_lines
from fitserve.render.tables import quality_text
from fitserve.render.texts import Texts, value_text
from fitserve.search.evaluate import Evaluated

_FIXES = 3
_BASES = 6
_FACTS = (
    ("memory channels", "channels"), ("speeds of the path", "path"), ("efficiency", "kernels"), ("bandwidth", "bandwidth"),
    ("operations a second", "operations"), ("batching", "engine"), ("speed of one stream", "engine"),
)  # fmt: skip
_PLACE = re.compile(r"https?://\S+|[\w\-.]+(?:/[\w\-.]+)+|[\w\-]+\.(?:py|json|toml|md)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """A paragraph, heading, list, table or code block; `kind` says which."""

    kind: str
    text: str = ""
    strong: bool = False
    lines: tuple[str, ...] = ()
    headings: tuple[str, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    language: str = ""


@dataclass(frozen=True, slots=True)
class Parts:
    """Writes blocks with the texts of a language."""

    texts: Texts

    def of(self, answer: AskAnswer) -> Iterator[Part]:
        """All parts of an answer: its blocks, what was assumed, the basis, and commands that go on."""
        for block in answer.blocks:
            yield from self._block(block)
        if answer.assumed:
            yield self._heading("ask_assumed")
            yield Part(kind="bullets", lines=tuple(dict.fromkeys(self._reason(reason) for reason in answer.assumed)))
        basis = tuple(self._basis(answer))
        if basis:
            yield self._heading("ask_basis")
            yield Part(kind="bullets", lines=basis)
        if answer.follow_up:
            yield self._heading("ask_follow_up")
            yield Part(kind="code", text="\n".join(answer.follow_up), language="bash")

    def _reason(self, reason: Reason) -> str:
        """A reason in words; a fact that is missing in the words of the language."""
        fact = str(reason.parameters.get("fact", ""))
        known = next((code for start, code in _FACTS if start in fact), None)
        if known is None or self.texts.language == "en":
            return self.texts.reason(reason)
        return self.texts.text("reason", reason.code, {**reason.parameters, "fact": self.texts.text("fact", known)})

    def _heading(self, code: str) -> Part:
        return Part(kind="heading", text=self.texts.label(code))

    def _block(self, block: Block) -> Iterator[Part]:
        match block:
            case Say():
                yield Part(kind="text", text=self._reason(block.reason), strong=block.strong)
            case Heading():
                yield self._heading(block.code)
            case Bullets():
                if block.reasons:
                    yield Part(kind="bullets", lines=tuple(self._reason(reason) for reason in block.reasons))
            case PlanTable():
                yield from self._plans(block)
            case Memory():
                yield from self._memory(block.item)
            case Numbers():
                cost = cost_line(block.item, block.rate, self.texts)
                lines = (*speed_lines(block.item, self.texts), *(() if cost is None else (cost,)))
                if lines:
                    yield Part(kind="bullets", lines=lines)
            case Curve():
                rows = load_rows(block.rows, self.texts)
                yield Part(kind="table", headings=rows.headings, rows=rows.rows)
            case Against():
                yield Part(kind="bullets", lines=tuple(self._against(block.items)))
            case Command():
                yield from self._command(block)
            case Grid():
                yield self._grid(block)
            case Costs():
                yield from self._costs(block)
            case Code():
                yield Part(kind="code", text=block.text, language=block.language)

    def _plans(self, block: PlanTable) -> Iterator[Part]:
        if not block.items:
            return
        several = any(not item.fits for item in block.items)
        names = ["engine", "format", "quality", ">memory_used", ">longest", ">at_once", ">per_user", ">first_token"]
        names = [*(["verdict"] if several else []), *names]
        names = [*(["model"] if block.names_model else []), *names]
        lead = (self.texts.label("variant"),) if block.titles else ()
        rows = []
        for index, item in enumerate(block.items):
            title = (block.titles[index],) if block.titles else ()
            model = (item.deployment.model.id,) if block.names_model else ()
            verdict = (self.texts.text("verdict", str(item.verdict)),) if several else ()
            rows.append((*title, *model, *verdict, *self._cells(item)))
        yield Part(kind="table", headings=(*lead, *headings_of(tuple(names), self.texts)), rows=tuple(rows))

    def _cells(self, item: Evaluated) -> tuple[str, ...]:
        d, budget = item.deployment, item.budget
        name = value_text("engine", d.engine)
        if budget is None:
            return (name, d.weight_format.name, quality_text(item, self.texts), "–", "–", "–", "–", "–")
        used = sum(device.used_bytes for device in budget.devices) or budget.host_bytes
        at_once = count_text(float(min(budget.kv.max_concurrency, budget.max_num_seqs)))
        return (
            name, d.weight_format.name, quality_text(item, self.texts), bytes_text(used),
            count_text(budget.kv.max_context_tokens), at_once, *speed_cells(item),
        )  # fmt: skip

    def _memory(self, item: Evaluated) -> Iterator[Part]:
        budget = item.budget
        if budget is None:
            return
        groups: dict[tuple[str, ...], list[int]] = {}
        for device in budget.devices:
            used = "; ".join(self._item(part) for part in device.items)
            key = (device.accelerator.id, used, bytes_text(device.used_bytes), bytes_text(device.usable_bytes))
            groups.setdefault(key, []).append(device.device)
        rows: list[tuple[str, ...]] = [(self._devices(key[0], found), *key[1:]) for key, found in groups.items()]
        if budget.host_items:
            host = "; ".join(self._item(part) for part in budget.host_items)
            rows.append((self.texts.label("host"), host, bytes_text(budget.host_bytes), "–"))
        label = self.texts.label
        headings = (label("gpu"), label("memory_used"), ">" + label("total"), ">" + label("ask_usable"))
        yield Part(kind="table", headings=headings, rows=tuple(rows))

    def _item(self, part: MemoryItem) -> str:
        rest = f" ({self.texts.label('rest')})" if part.is_rest else ""
        return f"{self.texts.text('memory', part.code)}{rest} {bytes_text(part.likely_bytes)}"

    def _devices(self, gpu: str, devices: list[int]) -> str:
        """Devices with the same budget are one row."""
        if len(devices) == 1:
            return self.texts.label("device", device=devices[0], gpu=gpu)
        return self.texts.label("devices_equal", count=len(devices), gpu=gpu)

    def _against(self, items: tuple[Evaluated, ...]) -> Iterator[str]:
        groups: dict[tuple[str, tuple[str, ...], str], list[Evaluated]] = {}
        for item in items:
            why = tuple(self._reason(reason) for reason in item.reasons if _is_shown(reason, item))
            fixes = list(dict.fromkeys(fix_text(fix, self.texts) for fix in item.fixes))[:_FIXES]
            groups.setdefault((item.deployment.engine, why, " · ".join(fixes)), []).append(item)
        for (name, why, changes), alike in groups.items():
            formats = ", ".join(dict.fromkeys(item.deployment.weight_format.name for item in alike))
            verdict = self.texts.text("verdict", str(alike[0].verdict))
            arrow = f" → {changes}" if changes else ""
            yield f"**{value_text('engine', name)} {formats}** ({verdict}): {' '.join(why)}{arrow}"

    def _command(self, block: Command) -> Iterator[Part]:
        item, command = block.item, block.launch
        system = item.deployment.machine.host.os
        shell = "powershell" if system == "windows" else "bash"
        native = system in engine(item.deployment.engine).native_os
        served = served_of(item, command)
        after = steps(served)
        download = after["download"]
        if download is not None:
            if served.is_gated:
                yield Part(kind="text", text=gated_text(served, self.texts))
            yield Part(kind="text", text=self.texts.label("ask_download"))
            yield Part(kind="code", text=download.shells[shell] or "", language=shell)
        for file in command.files:
            yield Part(kind="text", text=self.texts.label("file", path=file.path))
            yield Part(kind="code", text=file.text, language="yaml" if file.path.endswith((".yml", ".yaml")) else "")
        yield Part(kind="text", text=self.texts.label("command", shell=shell))
        yield Part(kind="code", text=shell_texts(command, native)[shell] or "", language=shell)
        test = after["smoke_test"]
        if test is not None:
            yield Part(kind="text", text=self.texts.label("then_test"))
            yield Part(kind="code", text=test.shells[shell] or "", language=shell)

    def _grid(self, block: Grid) -> Part:
        rows = tuple(tuple(self._cell(cell) for cell in row) for row in block.rows)
        return Part(kind="table", headings=headings_of(block.headings, self.texts), rows=rows)

    def _cell(self, cell: str | tuple[str, float | int]) -> str:
        if isinstance(cell, tuple):
            name, value = cell
            return rate_text(value) if name == "rate" else value_text(name, value)
        head, _, rest = cell.partition(":")
        if head == "verdict" and rest:
            return self.texts.text("verdict", rest)
        return value_text("engine", rest) if head == "engine" and rest else cell

    def _costs(self, block: Costs) -> Iterator[Part]:
        lines, headings, rows = cost_lines(block.answer, self.texts)
        yield Part(kind="text", text=lines[0], strong=True)
        yield Part(kind="table", headings=headings, rows=rows)
        if lines[1:]:
            yield Part(kind="bullets", lines=lines[1:])

    def _basis(self, answer: AskAnswer) -> Iterator[str]:
        found: dict[tuple[str, str], None] = {}
        for block in answer.blocks:
            for reason in _reasons(block):
                if reason.source is not None:
                    found[(reason.source.kind, reason.source.ref)] = None
        for item in answer.plans[:1]:
            if item.budget is not None:
                for part in (part for device in item.budget.devices for part in device.items):
                    found[(part.basis.kind, part.basis.ref)] = None
            if item.speed is not None:
                for basis in item.speed.basis:
                    found[(basis.kind, basis.ref)] = None
        lines: dict[str, list[str]] = {}
        for kind, ref in found:
            known = kind if kind in self.texts.codes("basis") else "other"
            lines.setdefault(known, []).extend(_PLACE.findall(ref))
        for known, places in lines.items():
            shown = ", ".join(f"`{place}`" for place in list(dict.fromkeys(places))[:_BASES])
            yield f"{self.texts.text('basis', known)}" + (f": {shown}" if shown else "")


def _reasons(block: Block) -> tuple[Reason, ...]:
    if isinstance(block, Say):
        return (block.reason,)
    return block.reasons if isinstance(block, Bullets) else ()


def _is_shown(reason: Reason, item: Evaluated) -> bool:
    if item.verdict is Verdict.NOT_SUPPORTED:
        return reason.verdict is Verdict.NOT_SUPPORTED
    return reason.severity is not Severity.NOTE or reason.code.endswith("_not_accelerated")
