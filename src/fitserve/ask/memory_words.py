"""Amounts of memory that no named GPU took, and the cards that they stand for."""

from fitserve.ask.hardware_words import Amount, amount_at, counted
from fitserve.ask.spans import Spans
from fitserve.ask.text import lexicon, number_of
from fitserve.foundation.units import GIB

_CLOSE = 0.12
_EACH = {"각", "각각", "each", "장당", "개당"}


def find_memory(spans: Spans, has_gpu: bool) -> tuple[int | None, int, int | None]:
    """(memory of GPUs without a name, how many cards it is on, RAM) of what the GPUs did not take."""
    vram: int | None = None
    cards = 1
    ram: int | None = None
    for index in range(len(spans.words)):
        amount = amount_at(spans, index)
        if amount is None or not spans.is_free(amount.first, amount.last) or amount.of == "disk":
            continue
        if amount.of == "ram" or (has_gpu and amount.of == "memory" and _says_ram(spans, amount)):
            ram = ram or amount.bytes
        elif not has_gpu and vram is None:
            vram = amount.bytes
            cards = _counted_near(spans, amount) or 1
        spans.take(amount.first, amount.last)
    return (None if vram is None else vram * cards), cards, ram


def _says_ram(spans: Spans, amount: Amount) -> bool:
    around = " ".join(spans.text(i) for i in range(amount.first - 3, amount.last + 3))
    return "ram" in around.split() or "메모리" in around


def _counted_near(spans: Spans, amount: Amount) -> int | None:
    """`24GB 카드 두 장`, `two 24GB cards`."""
    if spans.text(amount.last) == "x" and (number := number_of(spans.text(amount.last + 1))):
        return number
    before = range(max(0, amount.first - 4), amount.first) if spans.text(amount.first - 1) in _EACH else ()
    for index in (*range(amount.last, min(len(spans.words), amount.last + 5)), *before):
        number = counted(spans, index)
        if number is not None:
            return number
    number = number_of(spans.text(amount.first - 1)) or (
        number_of(spans.text(amount.first - 2)) if spans.text(amount.first - 1) == "x" else None
    )
    return number if number is not None and number <= 16 and spans.text(amount.first - 1) not in {"a", "an"} else None


def card_of_memory(memory_bytes: int, cards: int) -> tuple[str, int]:
    """(GPU, count) that a stated amount stands for: the nearest row that is not larger by more than a little."""
    size = memory_bytes / cards / GIB
    rows = [(row[0], row[1], row[2]) for row in lexicon()["cards"]["rows"]]
    if cards > 1:
        singles = [row for row in rows if row[2] == 1] or rows
        best = max(
            (row for row in singles if row[0] <= size * (1 + _CLOSE)), key=lambda row: row[0], default=singles[0]
        )
        return best[1], cards
    best = max((row for row in rows if row[0] <= size * (1 + _CLOSE)), key=lambda row: row[0], default=rows[0])
    return best[1], best[2]
