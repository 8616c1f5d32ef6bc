"""Server-sent events from pieces of any size: https://html.spec.whatwg.org/multipage/server-sent-events.html."""

from typing import Final

_MOST_BYTES: Final = 1 << 24
_MARK: Final = b"\xef\xbb\xbf"


class StreamTooLong(ValueError):
    """An event grew beyond every limit."""


class EventParser:
    """Gives the data of each event as soon as its blank line is there.

    Takes `\\n`, `\\r\\n` and `\\r`, comments, fields other than `data`, and data over several lines.
    """

    __slots__ = ("_is_begun", "_rest")

    def __init__(self) -> None:
        self._rest = b""
        self._is_begun = False

    def feed(self, piece: bytes) -> list[bytes]:
        """Data of the events that this piece completes. Raises StreamTooLong."""
        data = self._rest + piece if self._rest else piece
        if not self._is_begun and len(data) >= len(_MARK):
            self._is_begun = True
            data = data.removeprefix(_MARK)
        if b"\r" in data:
            held = b"\r" if data.endswith(b"\r") else b""  # the rest of its line break may come with the next piece
            data = data[: len(data) - len(held)].replace(b"\r\n", b"\n").replace(b"\r", b"\n") + held
        *blocks, rest = data.split(b"\n\n")
        if len(rest) > _MOST_BYTES:
            raise StreamTooLong
        self._rest = rest
        return [found for block in blocks if (found := _data_of(block)) is not None]

    def end(self) -> list[bytes]:
        """Data of an event whose blank line never came: servers leave it out after the last one."""
        rest, self._rest = self._rest.rstrip(b"\r"), b""
        found = _data_of(rest)
        return [] if found is None else [found]


def _data_of(block: bytes) -> bytes | None:
    """The data lines of an event, joined; None for an event without any."""
    if block.startswith(b"data: ") and b"\n" not in block:
        return block[6:]
    lines = []
    for line in block.split(b"\n"):
        if line.startswith(b"data:"):
            lines.append(line[5:].removeprefix(b" "))
        elif line == b"data":
            lines.append(b"")
    return b"\n".join(lines) if lines else None
