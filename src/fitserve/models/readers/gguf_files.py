"""A model from a GGUF file, all parts of a split one, local or by URL."""

import re
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Protocol

from fitserve.foundation.errors import InputError
from fitserve.models.from_gguf import Row, model_from_gguf
from fitserve.models.readers.byte_source import ByteSource, FileSource
from fitserve.models.readers.gguf_header import GgufHeader, read_gguf_header
from fitserve.models.types import LanguageModel

_PART = re.compile(r"(?P<stem>.*)-(?P<part>\d{5})-of-(?P<parts>\d{5})(?P<end>\.gguf.*)", re.IGNORECASE | re.DOTALL)
_MOST_PARTS = 512


class ClosableSource(ByteSource, Protocol):
    """A source that holds something open."""

    def close(self) -> None:
        """Lets go of it."""
        ...


def read_gguf(name: str, open_source: Callable[[str], ClosableSource]) -> LanguageModel:
    """The model of a file; `open_source` opens a path or URL. Raises InputError for a broken file or a missing part."""
    headers = [_header(part, open_source) for part in _parts(name)]
    rows = [Row(t.name, t.shape, t.type, t.bytes) for header in headers for t in header.tensors]
    seen = {row.name for row in rows}
    if len(seen) < len(rows):
        raise InputError.of("gguf_broken", where=name, detail="a tensor name occurs twice")
    declared = headers[0].metadata.get("split.count", 1)
    if isinstance(declared, int) and declared > 1 and len(headers) == 1:
        raise InputError.of("split_part_missing", where=name, part=2, parts=declared)
    if not rows:
        raise InputError.of("gguf_broken", where=name, detail="it has no tensors")
    return model_from_gguf(headers[0].metadata, rows, name)


def _header(name: str, open_source: Callable[[str], ClosableSource]) -> GgufHeader:
    with closing(open_source(name)) as source:
        return read_gguf_header(source)


def _parts(name: str) -> list[str]:
    """Names of all parts, the first one first."""
    match = _PART.fullmatch(name)
    if match is None:
        return [name]
    parts = int(match["parts"])
    if not 1 <= parts <= _MOST_PARTS:
        raise InputError.of("gguf_broken", where=name, detail=f"{parts} parts")
    return [f"{match['stem']}-{part:05d}-of-{match['parts']}{match['end']}" for part in range(1, parts + 1)]


def open_file(name: str) -> FileSource:
    """A local part; a missing one is named with its number."""
    match = _PART.fullmatch(name)
    if match is not None and not Path(name).exists():
        raise InputError.of("split_part_missing", where=name, part=int(match["part"]), parts=int(match["parts"]))
    return FileSource(Path(name))
