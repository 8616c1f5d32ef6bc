"""Bytes of a log to blocks of whole lines, and lines to their message: any size, any of the usual encodings and wrappers."""

import codecs
import json
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress

BLOCK_BYTES = 1 << 18
MOST_LETTERS = 4096
"""Of a line at a time; a longer one is read in parts."""
_OVERLAP = 256
_SAMPLE_BYTES = 4096
_ESCAPES = re.compile(rb"\x1b\[[0-9;?]{0,16}[A-Za-z]|\x1b\][^\x07\x1b]{0,256}(?:\x07|\x1b\\)")
_MOST_PREFIXES = 6


def blocks(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Blocks that end with a line, in UTF-8 or an encoding that holds ASCII. `pieces` are chunks or lines with their ends.

    A line longer than a block is handed on in parts.
    """
    waiting = bytearray()
    for piece in _as_narrow(pieces):
        view = memoryview(piece)
        for start in range(0, len(view), BLOCK_BYTES):
            waiting += view[start : start + BLOCK_BYTES]
            while len(waiting) >= BLOCK_BYTES:
                cut = max(waiting.rfind(b"\n"), 0) + 1 if b"\n" in waiting else BLOCK_BYTES
                yield _plain(bytes(waiting[:cut]))
                del waiting[:cut]
    if waiting:
        yield _plain(bytes(waiting))


def _plain(block: bytes) -> bytes:
    return _ESCAPES.sub(b"", block) if b"\x1b" in block else block


def _as_narrow(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """UTF-16, as Windows writes it, to UTF-8; everything else as it is."""
    stream = iter(pieces)
    first = b""
    for piece in stream:
        first += piece
        if len(first) >= _SAMPLE_BYTES:
            break
    encoding = _wide_encoding(first[:_SAMPLE_BYTES])
    if encoding is None:
        yield first.removeprefix(codecs.BOM_UTF8)
        yield from stream
        return
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    yield decoder.decode(first).lstrip("\ufeff").encode("utf-8", "replace")
    for piece in stream:
        yield decoder.decode(piece).encode("utf-8", "replace")
    yield decoder.decode(b"", final=True).encode("utf-8", "replace")


def _wide_encoding(sample: bytes) -> str | None:
    if sample.startswith(codecs.BOM_UTF16_LE):
        return "utf-16-le"
    if sample.startswith(codecs.BOM_UTF16_BE):
        return "utf-16-be"
    pairs = len(sample) // 2
    if pairs < 8:
        return None
    high, low = sample[1::2].count(0), sample[0::2].count(0)
    # text of mostly ASCII letters has a zero in one half of nearly every pair, other binary data in both or in none
    if high > 0.7 * pairs and low < 0.1 * pairs:
        return "utf-16-le"
    return "utf-16-be" if low > 0.7 * pairs and high < 0.1 * pairs else None


def decoded(raw: bytes) -> str:
    """A line as text: UTF-8, else the code page of Korean Windows, else what can be read of it."""
    for encoding in ("utf-8", "cp949"):
        with suppress(UnicodeDecodeError):
            return raw.decode(encoding)
    return raw.decode("utf-8", "replace")


def parts(raw: bytes) -> Iterator[str]:
    """A line of a file as lines of a terminal: updates of a progress bar apart, long ones in overlapping parts."""
    for update in raw.rstrip(b"\r").split(b"\r"):
        if len(update) <= MOST_LETTERS:
            yield decoded(update)
            continue
        for start in range(0, len(update), MOST_LETTERS - _OVERLAP):
            yield decoded(update[start : start + MOST_LETTERS])


_PREFIX = re.compile(
    r"""\s*(?:
      [\w.-]{1,60}\s{1,30}\|\s?                                                   # docker compose
    | \[(?:pod|deployment|statefulset|job)/[\w./-]{1,120}\]\s                     # kubectl logs --prefix
    | [A-Z][a-z]{2}\s{1,2}\d{1,2}\s\d\d:\d\d:\d\d(?:\.\d{1,6})?\s\S{1,80}\s[^\s:\[]{1,80}(?:\[\d{1,9}\])?:\s   # journald
    | \[?\d{4}[-/]\d\d[-/]\d\d[T\ ]\d\d:\d\d:\d\d[.,\d]{0,12}(?:Z|[+-]\d\d:?\d\d)?\]?\s?   # ISO time
    | \[?\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d\]\s                                        # TensorRT-LLM
    | (?:stdout|stderr)\s[FP]\s                                                    # containerd
    | \([A-Za-z_][^()]{0,60}pid=\d{1,9}[^()]{0,60}\)\s?                            # processes of vLLM and Ray
    | \[(?:rank|RANK\s)\d{1,4}\]:?\s?
    | \[(?:DEBUG|INFO|WARN(?:ING)?|ERROR|Debug|Info|Warning|Error|TRT-LLM|[EWI])\]:?\s?(?:\(Process\)\s)?
    | (?:ERROR|INFO|WARNING|DEBUG|CRITICAL)\s{1,6}\d\d-\d\d\s\d\d:\d\d:\d\d\s\[[^\]]{1,80}\]\s?
    | (?:ERROR|INFO|WARNING|DEBUG|CRITICAL):?\s{1,6}
    | \d\d:\d\d:\d\d[-:.,]\d{1,9}\s{1,3}
    | \d{1,6}(?:\.\d{2,3}){3}\s[EWIDT]\s
    )""",
    re.VERBOSE,
)
_WRAPPERS = ("log", "message", "msg", "MESSAGE")


def message(text: str) -> str:
    """A line without what wrappers put before it: container, pod, unit, time, process, level."""
    line = _unwrapped(text) if text.startswith("{") else text
    for _ in range(_MOST_PREFIXES):
        found = _PREFIX.match(line)
        if found is None or found.end() == 0:
            break
        line = line[found.end() :]
    return line.strip()


def _unwrapped(text: str) -> str:
    """The message of a line that is a JSON object, as Docker's log files and structured loggers write it."""
    try:
        row = json.loads(text)
    except (ValueError, RecursionError):
        return text
    if not isinstance(row, dict):
        return text
    return next((str(row[key]) for key in _WRAPPERS if isinstance(row.get(key), str)), text)
