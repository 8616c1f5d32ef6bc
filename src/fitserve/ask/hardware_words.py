"""GPUs with their counts, machines of Apple, and amounts of memory in a question."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache

from fitserve.ask.spans import Spans
from fitserve.ask.text import lexicon, number_of
from fitserve.ask.types import Named
from fitserve.foundation.facts import load_toml
from fitserve.foundation.reasons import Reason, note
from fitserve.foundation.units import GIB
from fitserve.hardware.identify import gpu_rows, identify

_LONGEST = 7
_MOST = 1024
_COUNTERS = ("장", "개", "대", "way", "웨이", "기", "장씩", "매")
_BESIDE = {
    "gpu",
    "gpus",
    "card",
    "cards",
    "nvidia",
    "geforce",
    "tesla",
    "짜리",
    "graphics",
    "rtx",
    "그래픽카드",
    "카드",
    "노드",
    "서버",
}
_KINDS_OF_MEMORY = {
    "vram": "vram", "ram": "ram", "ddr5": "ram", "ddr4": "ram", "시스템": "ram", "system": "ram", "file": "disk", "파일": "disk",
    "ssd": "disk", "디스크": "disk", "disk": "disk",
}  # fmt: skip
_BETWEEN = {"gpu", "gpus", "vram", "메모리", "memory", "nvidia", "sxm", "pcie", "with", "의"}
_AFTER_ENGLISH = {"gpu", "gpus", "card", "cards", "way"}
_AMOUNT = re.compile(r"(?P<size>\d+(?:\.\d+)?)(?P<unit>gib|gb|g|tb|t)?")
_MACS = ("macstudio", "macbookpro", "macbookair", "macmini", "macbook", "imac", "macpro", "applesilicon", "mac", "맥")
_SPELLED = {"macstudio": "Mac Studio", "macbookpro": "MacBook Pro", "macbookair": "MacBook Air", "macmini": "Mac mini"}
_CHIP = re.compile(r"m[1-9]")
_TIERS = ("pro", "max", "ultra")
_NOISE = re.compile(r"nvidia|geforce|tesla|amd|radeon|intel|\(r\)|\(tm\)|graphics|generation|edition")
_APPLE_SIZES = (8, 16, 18, 24, 32, 36, 48, 64, 96, 128, 192, 256, 512)
_NEAR_WORDS = 9


@dataclass(frozen=True, slots=True)
class Amount:
    """A number of bytes, where it stands, and what the words beside it say it is of."""

    bytes: int
    first: int
    last: int
    of: str


@lru_cache(maxsize=1)
def _names() -> dict[str, str]:
    """Names without punctuation to a name that `identify` takes."""
    table: dict[str, str] = {}
    for gpu_id, row in gpu_rows().items():
        for name in (gpu_id, *row["names"], *row["short_names"]):
            lower = name.lower()
            for key in {re.sub(r"[^a-z0-9]+", "", lower), re.sub(r"[^a-z0-9]+", "", _NOISE.sub(" ", lower))}:
                table.setdefault(key, name)
        short = re.sub(r"[^a-z0-9]+", "", gpu_id)
        for prefix in ("rtx", "gtx", "rx"):
            if short.startswith(prefix):
                table.setdefault(short.removeprefix(prefix), gpu_id)
    for key in load_toml("fitserve.hardware.catalog", "spoken_names.toml")["commonest"]:
        table.setdefault(key, key)
        table.setdefault(f"rtx{key}" if key[0].isdigit() else key, key)
    return {
        key: name
        for key, name in table.items()
        if len(key) >= 2 and not key.startswith(("m1", "m2", "m3", "m4", "m5", "apple"))
    }


def once(notes: list[Reason]) -> list[Reason]:
    """Each note once; notes hold mappings, which cannot be hashed."""
    return [item for index, item in enumerate(notes) if item not in notes[:index]]


def find_gpus(spans: Spans) -> tuple[list[Named], list[Reason]]:
    """GPUs in the order of the question; words that name them are taken."""
    found: list[tuple[int, Named]] = []
    notes: list[Reason] = []
    for place, named, said in [*_apple(spans), *_cards(spans)]:
        found.append((place, named))
        notes += said
    found.sort(key=lambda pair: pair[0])
    return _joined([named for _, named in found]), once(notes)


def _joined(found: list[Named]) -> list[Named]:
    """The same GPU named twice is one; the larger count stands."""
    table: dict[str, Named] = {}
    for item in found:
        known = table.get(item.gpu)
        if known is None:
            table[item.gpu] = item
        else:
            table[item.gpu] = replace(
                known, count=max(known.count, item.count), memory_bytes=known.memory_bytes or item.memory_bytes
            )
    return list(table.values())


def _cards(spans: Spans) -> Iterator[tuple[int, Named, list[Reason]]]:
    names, index = _names(), 0
    while index < len(spans.words):
        hit = _card_at(spans, index, names)
        if hit is None:
            index += 1
            continue
        last, name = hit
        spans.take(index, last)
        beside = _memory_beside(spans, index, last)
        if beside is not None:
            spans.take(beside.first, beside.last)
            last = max(last, beside.last)
        name = _portable(spans, index, last, name)
        count = _count(spans, index, last)
        beside = beside or _memory_behind(spans, last)
        item = identify((None if beside is None else _variant(name, beside.bytes)) or name)
        given = spans.plain[spans.words[index].start : spans.words[last - 1].end]
        said = [note("gpu_assumed", given=given, gpu=item.assumed)] if item.assumed is not None else []
        yield index, Named(gpu=item.device.id, count=count or 1), said
        index = last


def _card_at(spans: Spans, index: int, names: dict[str, str]) -> tuple[int, str] | None:
    for last in range(min(len(spans.words), index + _LONGEST), index, -1):
        if not spans.is_free(index, last):
            continue
        first = spans.text(index)
        if last - index > 1 and len(first) == 1 and not spans.words[index + 1].is_glued:
            continue
        key = re.sub(r"(\d)gi?b?$", r"\1gb", spans.joined(index, last))
        for wanted in (spans.joined(index, last), key, key.removesuffix("s"), key.removesuffix("gb")):
            if wanted in names and not _is_plain_number(spans, index, last, wanted):
                return last, names[wanted]
    return None


def _portable(spans: Spans, first: int, last: int, name: str) -> str:
    """The card of a notebook, where the catalogue has one of its own."""
    around = {spans.text(i) for i in (first - 1, first - 2, last, last + 1, last + 2)}
    is_portable = bool(around & {"laptop", "mobile", "notebook"}) or any(
        word.startswith(("노트북", "랩탑")) for word in around
    )
    portable = f"{name} laptop gpu" if is_portable else ""
    key = re.sub(r"[^a-z0-9]+", "", f"{identify(name).device.id} laptop")
    return identify(key).device.id if portable and key in _names() else name


def _is_plain_number(spans: Spans, index: int, last: int, key: str) -> bool:
    """A number that stands for something else: `4090 tokens`, `$3090`, `580 won`."""
    if not key.isdecimal():
        return False
    after = spans.text(last)
    return (
        len(key) < 4 or after in {"token", "tokens", "원", "만원", "usd", "ms"} or spans.text(index - 1) in {"$", "₩"}
    )


def _variant(name: str, memory_bytes: int) -> str | None:
    """A card of the same name with the memory that was stated (`A100` and 40 GB)."""
    wanted = f"{name.split(' ')[0] if ' ' in name and 'gb' in name.lower() else name} {round(memory_bytes / GIB)}GB"
    key = re.sub(r"[^a-z0-9]+", "", wanted.lower())
    return wanted if key in _names() else None


def _memory_beside(spans: Spans, first: int, last: int) -> Amount | None:
    """The memory of a card, where it is said right before or behind its name."""
    for start in (last, last + 1, last + 2, first - 1, first - 2):
        amount = amount_at(spans, start)
        if amount is None or amount.of == "ram" or not spans.is_free(amount.first, amount.last):
            continue
        if start < first and amount.last not in {first, first - 1}:
            continue
        if any(spans.text(i) not in _BETWEEN for i in range(last, start)):
            continue
        return amount
    return None


def _memory_behind(spans: Spans, last: int) -> Amount | None:
    """The memory of a card behind its count: `A100 두 장(40GB)`."""
    for index in range(last, last + 4):
        amount = amount_at(spans, index)
        if amount is not None and amount.of != "ram" and spans.is_free(amount.first, amount.last):
            spans.take(amount.first, amount.last)
            return amount
        if index not in spans.taken and spans.text(index) not in _BETWEEN:
            return None
    return None


def amount_at(spans: Spans, index: int) -> Amount | None:
    """`24gb`, `24 gb`, `24g` as bytes. A card of 24 GB is one of 24 GiB in the driver's words."""
    found = _AMOUNT.fullmatch(spans.text(index)) if spans.text(index) else None
    if found is None:
        return None
    unit, last = found["unit"], index + 1
    if unit is None:
        unit = spans.text(last) if spans.text(last) in {"gb", "gib", "g", "tb", "gig", "gigs"} else None
        last += 1
    if unit is None:
        return None
    size = float(found["size"]) * (1024 if unit == "tb" or unit == "t" else 1)
    around = [spans.text(i) for i in (last, last + 1, index - 1, index - 2)]
    return Amount(bytes=int(size * GIB), first=index, last=last, of=_of(around))


def _of(around: list[str]) -> str:
    """What an amount is of: the nearest word behind it or before it says so."""
    return next((_KINDS_OF_MEMORY[word] for word in around if word in _KINDS_OF_MEMORY), "memory")


def _count(spans: Spans, first: int, last: int) -> int | None:
    """How many of a card: `x 2`, `두 장`, `2 way`, `dual`, `2 x`, or a number with a counter a few words on."""
    start = last
    while spans.text(start) in _BESIDE:
        start += 1
    if spans.text(start) == "x" and (number := number_of(spans.text(start + 1))):
        spans.take(start, start + 2)
        return number
    before = _count_before(spans, first)
    if before is not None:
        return before
    for index in range(start, min(len(spans.words), start + _NEAR_WORDS)):
        if index in spans.taken:
            continue
        if _card_at(spans, index, _names()) is not None:
            break
        number = counted(spans, index)
        if number is not None:
            return number
    return None


def counted(spans: Spans, index: int) -> int | None:
    """A number with a counter of cards behind it."""
    word, after = spans.text(index), spans.text(index + 1)
    korean = re.match(r"(?P<number>[가-힣]{1,2}?)(장|대|개)(?:\D|$)", word)
    if korean and (number := number_of(korean["number"])):
        spans.take(index, index + 1)
        return number
    number = number_of(word)
    if number is None or number > _MOST or word in {"a", "an"}:
        return None
    if (
        after.startswith(_COUNTERS)
        or after in _AFTER_ENGLISH
        or (after == "x" and not number_of(spans.text(index + 2)))
    ):
        if after.startswith("기") and not after.startswith(("기로", "기를", "기 ", "기에")) and after != "기":
            return None
        if after.startswith("개월") or after.startswith("대화") or after.startswith("기준"):
            return None
        spans.take(index, index + 2)
        return number
    return None


def _count_before(spans: Spans, first: int) -> int | None:
    index = first - 1
    skipped = 0
    while (
        spans.text(index)
        in {*_BESIDE, "of", "x", "의", "장의", "개의", "used", "중고", "장", "대의", "my", "old", "new"}
        and skipped < 4
    ):
        index -= 1
        skipped += 1
    korean = re.match(r"(?P<number>[가-힣]{1,2}?)(장의|대의|개의)$", spans.text(index))
    if korean and (value := number_of(korean["number"])):
        return value
    number = number_of(spans.text(index))
    if number is None or number > _MOST or index in spans.taken or "." in spans.text(index):
        return None
    if number == 100 and not spans.text(index).isdecimal():
        return None
    if spans.text(index - 1) in {"python", "cuda", "windows", "v"}:
        return None
    spans.take(index, first)
    return number


def _apple(spans: Spans) -> Iterator[tuple[int, Named, list[Reason]]]:
    """Chips and machines of Apple, with the memory that stands nearest."""
    chips = [
        i
        for i, word in enumerate(spans.words)
        if _CHIP.fullmatch(word.text) or re.fullmatch(r"m[1-9](pro|max|ultra)", word.text)
    ]
    machines = [i for i, word in enumerate(spans.words) if word.text in _MACS or word.text.startswith("맥에서")]
    if not chips and not machines:
        return
    places = chips or machines[:1]
    for place in places:
        name = spans.text(place)
        last = place + 1
        if spans.text(last) in _TIERS:
            name, last = name + spans.text(last), last + 1
        spans.take(place, last)
        amount = _nearest_amount(spans, place) or _bare_amount(spans, last)
        count = _apple_count(spans, last)
        yield place, *_apple_named(name, amount, count)
    for place in machines:
        spans.take(place, place + 1)


def _apple_count(spans: Spans, last: int) -> int:
    return counted(spans, last) or 1


def _nearest_amount(spans: Spans, place: int) -> int | None:
    best: Amount | None = None
    for index in range(max(0, place - 9), min(len(spans.words), place + 9)):
        amount = amount_at(spans, index)
        if amount is None or not spans.is_free(amount.first, amount.last):
            continue
        if best is None or abs(amount.first - place) < abs(best.first - place):
            best = amount
    if best is None:
        return None
    spans.take(best.first, best.last)
    return best.bytes


def _bare_amount(spans: Spans, index: int) -> int | None:
    """`m3 max 128`: a number right behind a chip that is a memory size Apple sells."""
    size = number_of(spans.text(index))
    if size not in _APPLE_SIZES or index in spans.taken:
        return None
    spans.take(index, index + 1)
    return size * GIB


def _apple_named(name: str, memory_bytes: int | None, count: int) -> tuple[Named, list[Reason]]:
    is_machine = not _CHIP.match(name)
    kind = "mac" if name.startswith(("맥", "applesilicon")) else name
    size = memory_bytes or (lexicon()["apple_memory"].get(kind, 0) * GIB if is_machine else 0)
    notes: list[Reason] = []
    if is_machine and memory_bytes is None:
        notes.append(note("ask_mac_memory_assumed", have_bytes=size))
    if kind == "macbook":
        kind = "macbookair" if size <= 24 * GIB else "macbookpro"
    item = identify(f"{kind} {size // GIB}gb" if size else name)
    if item.assumed is not None:
        notes.append(note("gpu_assumed", given=_SPELLED.get(kind, kind), gpu=item.assumed))
    if not size:
        notes.append(note("unified_memory_assumed", gpu=item.device.id, have_bytes=item.device.memory_bytes))
    return Named(gpu=item.device.id, count=count, memory_bytes=size or None), notes
