"""The header of a GGUF file: metadata and tensor table. Format: ggml docs/gguf.md, versions 2 and 3.

Everything in a header may be a lie, so every count is checked against what the file could hold before anything is
allocated, and long arrays (vocabularies) are counted, not kept.
"""

import math
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NoReturn

from fitserve.foundation.errors import InputError
from fitserve.foundation.units import round_up
from fitserve.models.formats import gguf_types
from fitserve.models.readers.byte_source import ByteSource

_SCALARS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_STRING, _ARRAY = 8, 9
_CHUNK = 1 << 18
_LARGEST_CHUNK = 1 << 23
_MOST_KEYS = 1 << 14
_MOST_TENSORS = 1 << 17
_MOST_STRING = 1 << 26
_MOST_KEPT = 1 << 16
_MOST_KEPT_TOGETHER = 1 << 22
_MOST_TEXTS = 2_000_000  # strings in all arrays together; the largest vocabularies with merges have 0.8 million
_MOST_HEADER = 1 << 28
_MOST_DIMENSIONS = 4


@dataclass(frozen=True, slots=True)
class ArrayLength:
    """An array that was counted and not kept."""

    length: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufTensor:
    """One row of the tensor table."""

    name: str
    shape: tuple[int, ...]
    type: str
    bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class GgufHeader:
    """Metadata and tensors of one file, and the bytes of the whole file."""

    metadata: Mapping[str, Any]
    tensors: tuple[GgufTensor, ...]
    file_bytes: int


class _Cursor:
    """Reads a source from the front in chunks."""

    def __init__(self, source: ByteSource) -> None:
        self.source = source
        self.position = 0
        self._start = 0
        self._buffer = b""
        self._chunk = _CHUNK
        self.texts = 0
        self._kept = 0

    def fail(self, detail: str) -> NoReturn:
        raise InputError.of("gguf_broken", where=self.source.name, detail=detail)

    def take(self, length: int) -> bytes:
        """The next `length` bytes."""
        self._need(length)
        start = self.position - self._start
        self.position += length
        return self._buffer[start : start + length]

    def skip(self, length: int) -> None:
        """Moves on without reading."""
        if length > self.source.size - self.position:
            self.fail(f"it ends inside its header, at byte {self.source.size:,}")
        self.position += length

    def _need(self, length: int) -> None:
        if self.position + length <= self._start + len(self._buffer) and self.position >= self._start:
            return
        if length > self.source.size - self.position:
            self.fail(f"it ends inside its header, at byte {self.source.size:,}")
        if self.position + length > _MOST_HEADER:
            self.fail("its header is longer than any real one")
        self._buffer = self.source.read(self.position, max(length, self._chunk))
        self._start = self.position
        self._chunk = min(2 * self._chunk, _LARGEST_CHUNK)
        if len(self._buffer) < length:
            self.fail(f"only {len(self._buffer):,} of {length:,} bytes at {self.position:,} could be read")

    def number(self, kind: str) -> Any:
        """One little-endian number."""
        return struct.unpack("<" + kind, self.take(struct.calcsize("<" + kind)))[0]

    def text(self) -> str:
        """A string: length and UTF-8 bytes."""
        length = self.number("Q")
        if length > _MOST_STRING:
            self.fail(f"a text of {length:,} bytes")
        if not self._keeps(length):
            self.skip(length)
            return ""
        return self.take(length).decode("utf-8", "replace")

    def _keeps(self, count: int) -> bool:
        """Whether a text or array of this length is kept; long ones, and too many, are only counted."""
        self._kept += count if count <= _MOST_KEPT else 0
        return count <= _MOST_KEPT and self._kept <= _MOST_KEPT_TOGETHER

    def value(self, kind: int) -> Any:
        """One metadata value of a type."""
        if kind in _SCALARS:
            return self.number(_SCALARS[kind])
        if kind == _STRING:
            return self.text()
        if kind == _ARRAY:
            return self._array()
        return self.fail(f"metadata type {kind} does not exist")

    def _array(self) -> Any:
        kind, count = self.number("I"), self.number("Q")
        if kind in _SCALARS:
            width = struct.calcsize("<" + _SCALARS[kind])
            if count > (self.source.size - self.position) // width:
                self.fail(f"an array of {count:,} values, more than the file can hold")
            if not self._keeps(count):
                self.skip(count * width)
                return ArrayLength(count)
            return list(struct.unpack(f"<{count}{_SCALARS[kind]}", self.take(count * width)))
        if kind == _STRING:
            self._skip_texts(count)
            return ArrayLength(count)
        return self.fail(f"an array of type {kind}")

    def _skip_texts(self, count: int) -> None:
        self.texts += count
        if count > (self.source.size - self.position) // 8:
            self.fail(f"it ends inside an array of {count:,} texts")
        if self.texts > _MOST_TEXTS:
            self.fail(f"an array of {count:,} texts, more than any vocabulary has")
        for _ in range(count):
            length = self.number("Q")
            if length > _MOST_STRING:
                self.fail(f"a text of {length:,} bytes")
            self.skip(length)


def read_gguf_header(source: ByteSource) -> GgufHeader:
    """The header of a file. Raises InputError when it is no GGUF, broken, or cut off before its last tensor."""
    cursor = _Cursor(source)
    if source.size < 24 or cursor.take(4) != b"GGUF":
        cursor.fail("it does not begin with GGUF")
    version = cursor.number("I")
    if version not in {2, 3}:
        cursor.fail(f"format version {version} is not 2 or 3 (little-endian)")
    tensor_count, key_count = cursor.number("Q"), cursor.number("Q")
    if key_count > _MOST_KEYS or tensor_count > _MOST_TENSORS:
        cursor.fail(f"{key_count:,} keys and {tensor_count:,} tensors are more than any model has")
    metadata: dict[str, Any] = {}
    for _ in range(key_count):
        key = cursor.text()
        metadata[key] = cursor.value(cursor.number("I"))
    rows = [_tensor(cursor) for _ in range(tensor_count)]
    alignment = metadata.get("general.alignment", 32)
    if not isinstance(alignment, int) or not 1 <= alignment <= 1 << 20:
        cursor.fail(f"an alignment of {alignment}")
    data = round_up(cursor.position, alignment)
    end = max((data + offset + tensor.bytes for tensor, offset in rows), default=0)
    if end > source.size:
        cursor.fail(f"{end - source.size:,} of {end:,} bytes are missing at its end")
    return GgufHeader(metadata=metadata, tensors=tuple(tensor for tensor, _ in rows), file_bytes=source.size)


def _tensor(cursor: _Cursor) -> tuple[GgufTensor, int]:
    name = cursor.text()
    dimensions = cursor.number("I")
    if not 1 <= dimensions <= _MOST_DIMENSIONS:
        cursor.fail(f"tensor {name[:64]} has {dimensions} dimensions")
    shape = struct.unpack(f"<{dimensions}Q", cursor.take(8 * dimensions))
    kind, offset = cursor.number("I"), cursor.number("Q")
    row = _types_by_id().get(kind)
    if row is None:
        cursor.fail(f"tensor {name[:64]} has type {kind}, which upstream llama.cpp does not know")
    elements = math.prod(shape)
    if elements > 1 << 50 or offset > 1 << 50 or shape[0] % row["block_elements"]:
        cursor.fail(f"tensor {name[:64]} has the shape {'x'.join(map(str, shape))[:60]}")
    size = elements // row["block_elements"] * row["block_bytes"]
    return GgufTensor(name=name, shape=shape, type=row["type"], bytes=size), offset


@lru_cache(maxsize=1)
def _types_by_id() -> dict[int, Mapping[str, Any]]:
    return {row["id"]: row for row in gguf_types().values()}
