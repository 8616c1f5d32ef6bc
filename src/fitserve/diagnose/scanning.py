"""One pass over a log: blocks that hold no word of any signature are passed over, the rest is read line by line."""

import re
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import replace

from fitserve.diagnose.reading import blocks, decoded, message, parts
from fitserve.diagnose.signatures import Table, model_types, table
from fitserve.diagnose.types import Match, Rule, Scan, Seen

_NOT_WORDS = bytes(32 if not (chr(i).isalnum() or i == 95 or i > 127) or 127 < i < 128 else i for i in range(256))
_AHEAD_BYTES = 2048
_WINDOW_LINES = 2
_WINDOW_LETTERS = 1024
_MOST_MATCHES = 40
"""Of one rule in one run; more of the same say nothing new."""
_MOST_FIGURES = 400
_MOST_MARKS = 4096
_MOST_RUNS = 1000
_SHOWN_LETTERS = 400
_END_BYTES = 1 << 16
_END_LINES = 400

_SOURCE_LINE = re.compile(
    r"""^(?:raise\b|throw\b|assert\b|print\(|f?printf\(|(?:self\.)?log(?:ger|ging)?\.|return\b|elif\b|(?:if|while|for|except|with)\b.*:$|[\w."\]\[-]+\s=\s[rbf]?["'\[{]|def\b|class\b|import\s|from\s\S{1,80}\simport\s
    |//|/\*|\*\s|\#|>\s|[+-]\s{2,}|[rbfu]{0,2}"[^"]*"[,)\s]*$|[rbfu]{0,2}'[^']*'[,)\s]*$)
    |\braise\s\w+\(|\b(?:LLAMA|GGML|LOG|SRV|SLT)_\w*(?:ERR|WRN|ERROR|WARN|INF)\w*\(|\bthrow\sstd::|\bErrorf\(|\berrors\.New\(|\bslog\.\w+\(
    |\bconsole\.\w+\(|\bRuntimeError\(|\bValueError\(\s*$|\bf"[^"]*\{""",
    re.VERBOSE,
)
"""Lines of program text, which a traceback quotes and a source file consists of: the message itself stands elsewhere."""


def scan(pieces: Iterable[bytes]) -> Scan:
    """What a log holds, in bounded memory. `pieces` are chunks or lines with their line ends."""
    scanner = Scanner(table())
    for block, ahead in _with_ahead(blocks(pieces)):
        scanner.read(block, ahead)
    return scanner.done()


def _with_ahead(listed: Iterator[bytes]) -> Iterator[tuple[bytes, bytes]]:
    """Each block with the beginning of the next: a message may run over the end."""
    current = next(listed, None)
    for following in listed:
        if current is not None:
            yield current, following[:_AHEAD_BYTES]
        current = following
    if current is not None:
        yield current, b""


class Scanner:
    """The state of a pass."""

    def __init__(self, known: Table) -> None:
        self._table = known
        self._matches: dict[tuple[int, int], Match] = {}
        self._figures: dict[str, Seen] = {}
        self._figure_counts: dict[int, int] = {}
        self._known: dict[str, Seen] = {}
        self._gpus: dict[str, str] = {}
        self._marks: deque[tuple[int, int, str]] = deque(maxlen=_MOST_MARKS)
        self._engines: dict[str, int] = {}
        self._run = 0
        self._run_has_more = False
        self._lines = 0
        self._bytes = 0
        self._head = b""
        self._tail = b""

    def read(self, block: bytes, ahead: bytes) -> None:
        """Takes one block."""
        words = set(block.translate(_NOT_WORDS).split())
        for word in words & self._table.fingerprints.keys():
            engine = self._table.fingerprints[word]
            self._engines[engine] = self._engines.get(engine, 0) + 1
        present = words & self._table.words
        if present:
            self._read_lines(block, ahead, present)
        self._lines += block.count(b"\n")
        self._bytes += len(block)
        if len(self._head) < _END_BYTES:
            self._head = (self._head + block)[:_END_BYTES]
        self._tail = (self._tail + block)[-_END_BYTES:]

    def _read_lines(self, block: bytes, ahead: bytes, present: set[bytes]) -> None:
        active = [(word, listed) for word in present if (listed := self._active(word))]
        raw = block.split(b"\n")
        if raw and not raw[-1]:
            raw.pop()
        count = len(raw)
        raw += ahead.split(b"\n")[:_WINDOW_LINES]
        for index in range(count):
            line = raw[index]
            rules: list[Rule] = []
            for word, some in active:
                if word in line:
                    rules += some
            if rules:
                self._read_line(raw, index, rules)

    def _active(self, word: bytes) -> tuple[Rule, ...]:
        return tuple(rule for rule in self._table.by_word[word] if not self._is_enough(rule))

    def _read_line(self, raw: list[bytes], index: int, rules: list[Rule]) -> None:
        number = self._lines + index + 1
        for text in parts(raw[index]):
            narrow = [rule for rule in rules if not rule.is_wide and rule.pattern.search(text)]
            if narrow:
                self._apply(narrow, number, message(text), "", [])
            wide = [rule for rule in rules if rule.is_wide]
            if wide:
                before = _short(raw[index - 1]) if index else ""
                after = [_short(item) for item in raw[index + 1 : index + 1 + _WINDOW_LINES]]
                self._apply(wide, number, message(text), before, after)

    def _apply(self, rules: list[Rule], number: int, text: str, before: str, after: list[str]) -> None:
        """The rules that a line may match; a match may begin in the line before and end in the next two."""
        window = "\n".join((before, text, *after))
        start, stop = len(before) + 1, len(before) + 1 + len(text)
        is_source: bool | None = None
        for rule in rules:
            if self._is_enough(rule):
                continue
            found = next((m for m in rule.pattern.finditer(window) if m.end() > start), None)
            if found is None or found.start() >= stop:
                continue
            if rule.kind == "figure":
                self._note_figures(rule, found, number)
                continue
            if rule.kind == "mark":
                self._note_mark(rule, found, number)
                continue
            if is_source is None:
                is_source = _SOURCE_LINE.search(text) is not None
            if not is_source and not _is_quoted(window, found) and _is_checked(rule, found):
                is_before = found.start() < start - 1
                self._note_match(rule, found, number - 1 if is_before else number, before if is_before else text)

    def _is_enough(self, rule: Rule) -> bool:
        if rule.kind == "failure":
            match = self._matches.get((rule.order, self._run))
            return match is not None and match.count >= _MOST_MATCHES
        return rule.kind == "figure" and self._figure_counts.get(rule.order, 0) >= _MOST_FIGURES

    def _note_match(self, rule: Rule, found: re.Match[str], number: int, text: str) -> None:
        self._run_has_more = True
        key = (rule.order, self._run)
        earlier = self._matches.get(key)
        groups = {name: value for name, value in found.groupdict().items() if value}
        if earlier is not None:
            kept = groups if len(groups) > len(earlier.groups) else earlier.groups
            self._matches[key] = replace(earlier, last_line=number, count=earlier.count + 1, groups=kept)
            return
        shown = text[:_SHOWN_LETTERS]
        self._matches[key] = Match(rule=rule, run=self._run, line=number, last_line=number, text=shown, groups=groups)

    def _note_figures(self, rule: Rule, found: re.Match[str], number: int) -> None:
        self._figure_counts[rule.order] = self._figure_counts.get(rule.order, 0) + 1
        groups = {name: value for name, value in found.groupdict().items() if value}
        device = groups.pop("device", None)
        for name, value in groups.items():
            self._figures[f"{name}.{device}" if device else name] = Seen(value.replace(",", ""), number)

    def _note_mark(self, rule: Rule, found: re.Match[str], number: int) -> None:
        groups = {name: value for name, value in found.groupdict().items() if value}
        if "gpu_name" in groups:
            self._gpus[groups.get("device", groups["gpu_name"] + str(len(self._gpus)))] = groups["gpu_name"]
        for name, value in groups.items():
            if name not in {"gpu_name", "device"}:
                self._known[name] = Seen(value[:_WINDOW_LETTERS], number)
        if rule.name == "known":
            return
        if rule.name == "start" and self._run_has_more and self._run < _MOST_RUNS:
            self._run += 1
            self._run_has_more = False
        if not self._marks or self._marks[-1][0::2] != (self._run, rule.name) or rule.name == "start":
            self._marks.append((self._run, number, rule.name))
        self._run_has_more = self._run_has_more or rule.name == "serving"

    def done(self) -> Scan:
        """What was kept."""
        return Scan(
            matches=tuple(self._matches.values()),
            figures=dict(self._figures),
            known=dict(self._known),
            gpus=dict(self._gpus),
            marks=tuple(self._marks),
            engines=dict(self._engines),
            runs=self._run + 1,
            lines=self._lines,
            size_bytes=self._bytes,
            ends=tuple(self._ends()),
        )

    def _ends(self) -> Iterator[tuple[int, str]]:
        """The first and last lines with their numbers, each once."""
        head = self._head.split(b"\n")[:_END_LINES]
        tail = self._tail.rstrip(b"\n").split(b"\n")
        last = max(1, self._lines + (0 if self._tail.endswith(b"\n") else 1))
        first_of_tail = last - len(tail) + 1
        for index, raw in enumerate(head):
            if index + 1 < first_of_tail:
                yield index + 1, _short(raw)
        for index, raw in enumerate(tail):
            if len(tail) - index <= _END_LINES:
                yield first_of_tail + index, _short(raw)


def _short(raw: bytes) -> str:
    return message(decoded(raw.rstrip(b"\r").rpartition(b"\r")[2][:_WINDOW_LETTERS]))


def _is_quoted(window: str, found: re.Match[str]) -> bool:
    """Whether a message is quoted in prose."""
    return found.start() > 0 and window[found.start() - 1] in "`‘“「"


def _is_checked(rule: Rule, found: re.Match[str]) -> bool:
    """Whether what a general pattern captured is of the kind that its rule means."""
    return rule.check is None or found["model_type"] in model_types()
