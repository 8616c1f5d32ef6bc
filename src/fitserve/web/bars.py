"""The memory bar: what lies in a device, in one order and one scale, up to the limit that the engine keeps to.

Drawn in per cent of its width, so that it stretches and its text does not; colours by class only.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape

from markupsafe import Markup

from fitserve.engines.contract import DeviceBudget, MemoryBudget, MemoryItem
from fitserve.render.texts import Texts
from fitserve.web.names import gpu_title

ORDER = (
    "weights", "runtime", "activations", "cuda_graphs", "compute_buffer", "output_buffer", "recurrent_state", "kv_cache",
)  # fmt: skip
_GIB = 1 << 30
_MOST_NOTCHES = 24
_ROOM_FOR_LABEL = 0.13
_TOP, _BAR, _BELOW = 30, 46, 34
_LEAST_SHARE = 0.03
"""What lies in RAM beside GPUs gets a bar of its own from this share of everything on."""
_WIDEST = 1.25
"""A bar may be this much longer than its device before the scale of all bars widens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One device or the RAM: items in drawing order, the whole and the limit in bytes."""

    name: str
    items: tuple[MemoryItem, ...]
    capacity_bytes: int
    limit_bytes: int
    is_device: bool = True
    requests: float = 0.0
    """Requests of the full context that the cache holds."""

    @property
    def used_bytes(self) -> int:
        """Sum of the likely figures."""
        return sum(item.likely_bytes for item in self.items)


def bars_of(budget: MemoryBudget, ram_bytes: int | None, words: Texts) -> tuple[Bar, ...]:
    """A bar for each different device, and one for RAM where something lies there."""
    groups: dict[object, list[DeviceBudget]] = {}
    for device in budget.devices:
        key = (device.accelerator.id, device.usable_bytes, tuple((i.code, i.likely_bytes) for i in device.items))
        groups.setdefault(key, []).append(device)
    bars = [
        Bar(
            name=_name(group), items=_ordered(group[0].items), limit_bytes=group[0].usable_bytes,
            capacity_bytes=max(group[0].accelerator.memory_bytes, group[0].usable_bytes),
            requests=budget.kv.max_concurrency,
        )
        for group in groups.values()
    ]  # fmt: skip
    if budget.host_items and (not budget.devices or budget.host_bytes > _LEAST_SHARE * budget.total_bytes.likely):
        used = budget.host_bytes
        whole = ram_bytes or used
        bars.append(
            Bar(
                name="RAM" if ram_bytes else words.text("web", "ram_unknown"), items=_ordered(budget.host_items),
                is_device=False,
                capacity_bytes=whole, limit_bytes=whole, requests=0.0 if budget.devices else budget.kv.max_concurrency,
            )
        )  # fmt: skip
    return tuple(bars)


def _name(group: Sequence[DeviceBudget]) -> str:
    name = gpu_title(group[0].accelerator.id)
    return name if len(group) == 1 else f"{name} × {len(group)}"


def _ordered(items: Iterable[MemoryItem]) -> tuple[MemoryItem, ...]:
    def place(item: MemoryItem) -> int:
        return ORDER.index(item.code) if item.code in ORDER else len(ORDER) - 2

    return tuple(sorted((item for item in items if item.likely_bytes > 0), key=place))


def scale_bytes(bars: Sequence[Bar]) -> float:
    """The common scale: the largest device, wider where something needs far more."""
    capacity = max(bar.capacity_bytes for bar in bars)
    used = max(bar.used_bytes for bar in bars)
    return float(max(capacity, used * 1.02 if used > capacity else 0, min(used, capacity * _WIDEST)))


def full_bars(bars: Sequence[Bar], words: Texts) -> Markup:
    """All bars below one ruler, with labels, notches, limits and the spread of the fixed part."""
    scale = scale_bytes(bars)
    rows = [*_ruler(scale)]
    top = _TOP
    for number, bar in enumerate(bars):
        if len(bars) > 1:
            rows.append(f'<text class="name" x="0" y="{top + 13}">{escape(bar.name)}</text>')
            top += 19
        rows += _bar(bar, number, scale, top, words)
        top += _BAR + (_BELOW if number == len(bars) - 1 else 20)
    title = escape(" · ".join(in_words(bar, words) for bar in bars))
    body = "".join(rows)
    return Markup(  # noqa: S704 - every text above is escaped
        f'<svg class="bar" width="100%" height="{top}" role="img" aria-label="{title}">{body}</svg>'
    )


def mini_bar(bars: Sequence[Bar], words: Texts, scale: float | None = None) -> Markup:
    """The fullest device as a thin bar without text."""
    if not bars:
        return Markup("")
    bar = max(bars, key=lambda item: (item.is_device, item.used_bytes / max(1, item.limit_bytes)))
    whole = scale or scale_bytes([bar])
    rows = [_rect("track", 0, bar.capacity_bytes / whole), *_segments(bar, whole, "m")]
    limit = bar.limit_bytes / whole * 100
    rows.append(f'<line class="limit" x1="{limit:.2f}%" x2="{limit:.2f}%" y1="0" y2="100%"/>')
    title = escape(in_words(bar, words))
    return Markup(  # noqa: S704 - every text above is escaped
        f'<svg class="mini" width="100%" height="14" role="img" aria-label="{title}">{"".join(rows)}</svg>'
    )


def in_words(bar: Bar, words: Texts) -> str:
    """The bar as a sentence."""
    parts = ", ".join(f"{words.text('memory', item.code)} {item.likely_bytes / _GIB:.1f}" for item in bar.items)
    given = {"name": bar.name, "used": f"{bar.used_bytes / _GIB:.1f}", "whole": f"{bar.capacity_bytes / _GIB:.1f}"}
    return words.text("web", "bar_in_words", given | {"parts": parts})


def _rect(kind: str, start: float, width: float, top: float = 0, height: str = "100%", extra: str = "") -> str:
    return (
        f'<rect class="{kind}" x="{start * 100:.2f}%" y="{top:g}" width="{max(0.0, width) * 100:.2f}%"'
        f' height="{height}"{extra}/>'
    )


def _segments(bar: Bar, scale: float, key: str) -> list[str]:
    rows, start = [], 0.0
    for item in bar.items:
        width = item.likely_bytes / scale
        rows.append(_rect(f"seg {item.code}", start, width, extra=f' data-key="{key}-{item.code}"'))
        start += width
    if bar.used_bytes > bar.limit_bytes:
        limit = bar.limit_bytes / scale
        rows.append(_rect("over", limit, start - limit))
    return rows


def _bar(bar: Bar, number: int, scale: float, top: int, words: Texts) -> list[str]:
    """One bar of the large drawing."""
    tall, limit = f"{_BAR}", bar.limit_bytes / scale
    rows, labels = [_rect("track", 0, bar.capacity_bytes / scale, top, tall)], []
    if bar.limit_bytes < bar.capacity_bytes:
        rows.append(_rect("reserve", limit, (bar.capacity_bytes - bar.limit_bytes) / scale, top, tall))
    start = 0.0
    for item in bar.items:
        width = item.likely_bytes / scale
        rows.append(_rect(f"seg {item.code}", start, width, top, tall, f' data-key="{number}-{item.code}"'))
        rows.append(_rect(f"tex t-{item.code}", start, width, top, tall))
        seen = min(start + width, limit) - start if bar.used_bytes > bar.limit_bytes else width
        if seen >= _ROOM_FOR_LABEL:
            label = f"{words.text('web', 'short_' + item.code)} {item.likely_bytes / _GIB:.1f}"
            at = top + (_BAR / 2 - 3 if item.code == "kv_cache" and _notches(bar) else _BAR / 2 + 5)
            middle = (start + seen / 2) * 100
            labels.append(f'<text class="in in-{item.code}" x="{middle:.2f}%" y="{at:g}">{escape(label)}</text>')
        if item.code == "kv_cache":
            rows += _notch_lines(bar, start, width, top)
        start += width
    if bar.used_bytes > bar.limit_bytes:
        rows.append(_rect("over", limit, start - limit, top, tall))
        rows.append(_rect("tex t-over", limit, start - limit, top, tall))
    rows += [*labels, *_whisker(bar, scale, top)]
    if bar.is_device or bar.limit_bytes > bar.used_bytes:
        rows += _limit(bar, limit, top, words)
    return rows


def _notches(bar: Bar) -> int:
    """Requests that stand side by side in the cache; none where they would be a blur."""
    count = math.floor(bar.requests)
    return count if 1 <= count <= _MOST_NOTCHES else 0


def _notch_lines(bar: Bar, start: float, width: float, top: int) -> list[str]:
    count = _notches(bar)
    step = width / bar.requests if count else 0.0
    low = top + _BAR
    return [
        f'<line class="notch" x1="{(start + step * index) * 100:.2f}%" x2="{(start + step * index) * 100:.2f}%"'
        f' y1="{low - 14}" y2="{low}"/>'
        for index in range(1, count + 1)
        if step * index < width - 1e-4
    ]


def _whisker(bar: Bar, scale: float, top: int) -> list[str]:
    """How far the fixed part may be off."""
    fixed = [item for item in bar.items if not item.is_rest]
    likely = sum(item.bytes.likely for item in fixed)
    below = math.sqrt(sum((item.bytes.likely - item.bytes.low) ** 2 for item in fixed))
    above = math.sqrt(sum((item.bytes.high - item.bytes.likely) ** 2 for item in fixed))
    low, high = ((likely - below) / scale * 100, (likely + above) / scale * 100)
    at = top + _BAR + 8
    lines = [(low, high, at, at), (low, low, at - 4, at + 4), (high, high, at - 4, at + 4)]
    return [f'<line class="whisk" x1="{a:.2f}%" x2="{b:.2f}%" y1="{c}" y2="{d}"/>' for a, b, c, d in lines]


def _limit(bar: Bar, limit: float, top: int, words: Texts) -> list[str]:
    limit_text = f"{bar.limit_bytes / _GIB:.1f}"
    text = words.text("web", "bar_limit", {"limit": limit_text}) if bar.is_device else f"RAM {limit_text} GiB"
    anchor = "end" if limit > 0.3 else "start"
    return [
        f'<line class="limit" x1="{limit * 100:.2f}%" x2="{limit * 100:.2f}%" y1="{top - 6}" y2="{top + _BAR + 14}"/>',
        f'<text class="strong" x="{limit * 100:.2f}%" y="{top + _BAR + 27}" text-anchor="{anchor}">{escape(text)}</text>',
    ]


def _ruler(scale: float) -> list[str]:
    """Ticks in gibibytes; every second number gives way on narrow screens."""
    whole = scale / _GIB
    step = next(size for size in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000) if whole / size <= 9)
    rows = []
    for index in range(int(whole / step) + 1):
        at = index * step / whole * 100
        rows.append(f'<line class="tick" x1="{at:.2f}%" x2="{at:.2f}%" y1="16" y2="{_TOP - 4}"/>')
        if at < 97:
            anchor = "start" if index == 0 else "middle"
            text = "0 GiB" if index == 0 else f"{index * step:,}"
            kind = ' class="wide"' if index % 2 else ""
            rows.append(f'<text{kind} x="{at:.2f}%" y="12" text-anchor="{anchor}">{text}</text>')
    if 5 <= int(whole / step) * 5 <= 60:
        fine = step / 5
        for index in range(int(whole / fine) + 1):
            if index % 5:
                at = index * fine / whole * 100
                rows.append(f'<line class="tick minor" x1="{at:.2f}%" x2="{at:.2f}%" y1="21" y2="{_TOP - 4}"/>')
    return rows
