"""Writes a GGUF file whose weights are a hole: header, metadata and tensor table on disk, the rest only apparent size.

Format: ggml docs/gguf.md, version 3, little-endian.
"""

import struct
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from typing import Any, BinaryIO, TypeAlias

from fitserve.footprint.gguf_mix import TypedTensor
from fitserve.foundation.units import round_up
from fitserve.models.formats import gguf_types

ALIGNMENT = 32
_VERSION = 3
_U32, _I32, _F32, _BOOL, _TEXT, _ARRAY = 4, 5, 6, 7, 8, 9

Scalar: TypeAlias = bool | int | float | str
Value: TypeAlias = Scalar | Sequence[bool] | Sequence[int] | Sequence[float] | Sequence[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedTensor:
    """One row of the tensor table: shape as GGML writes it (row length first), type by name, bytes of the tensor."""

    name: str
    shape: tuple[int, ...]
    type: str
    bytes: int


def write_hollow_gguf(file: BinaryIO, metadata: Mapping[str, Value], tensors: Sequence[NamedTensor]) -> tuple[int, int]:
    """Writes the header and leaves the rest a hole; returns bytes of the header and of the whole file as it seems.

    Raises OSError when the disk refuses it.
    """
    header = _header(metadata, tensors)
    whole = len(header) + sum(round_up(tensor.bytes, ALIGNMENT) for tensor in tensors)
    file.write(header)
    file.truncate(whole)
    file.flush()
    return len(header), whole


def _header(metadata: Mapping[str, Value], tensors: Sequence[NamedTensor]) -> bytes:
    out = BytesIO()
    out.write(b"GGUF" + struct.pack("<IQQ", _VERSION, len(tensors), len(metadata)))
    for key, value in metadata.items():
        out.write(_text(key))
        out.write(_value(value))
    offset = 0
    types = gguf_types()
    for tensor in tensors:
        dimensions = len(tensor.shape)
        out.write(_text(tensor.name) + struct.pack(f"<I{dimensions}Q", dimensions, *tensor.shape))
        out.write(struct.pack("<IQ", types[tensor.type]["id"], offset))
        offset += round_up(tensor.bytes, ALIGNMENT)
    out.write(bytes(-out.tell() % ALIGNMENT))
    return out.getvalue()


def _text(text: str) -> bytes:
    encoded = text.encode()
    return struct.pack("<Q", len(encoded)) + encoded


def _value(value: Value) -> bytes:
    if isinstance(value, bool):
        return struct.pack("<I?", _BOOL, value)
    if isinstance(value, int):
        return struct.pack("<II", _U32, value)
    if isinstance(value, float):
        return struct.pack("<If", _F32, value)
    if isinstance(value, str):
        return struct.pack("<I", _TEXT) + _text(value)
    return struct.pack("<I", _ARRAY) + _array(list(value))


def _array(items: list[Any]) -> bytes:
    """Element type, count and elements; the type is that of the first one."""
    first = items[0] if items else 0
    count = struct.pack("<Q", len(items))
    if isinstance(first, bool):
        return struct.pack("<I", _BOOL) + count + bytes(items)
    if isinstance(first, int):
        return struct.pack("<I", _I32) + count + _packed("i", items)
    if isinstance(first, float):
        return struct.pack("<I", _F32) + count + _packed("f", items)
    return struct.pack("<I", _TEXT) + count + b"".join(map(_text, items))


def _packed(kind: str, items: Iterable[Any]) -> bytes:
    packed = array(kind, items)
    if struct.pack("=H", 1) != struct.pack("<H", 1):
        packed.byteswap()
    return packed.tobytes()


def named_tensors(
    tensors: Iterable[TypedTensor], names: Mapping[str, str], row_lengths: Mapping[str, int]
) -> list[NamedTensor]:
    """Rows of the table; `names` renames roles whose name in the file is another, `row_lengths` makes vectors matrices."""
    rows = []
    for tensor in tensors:
        role = names.get(tensor.role, tensor.role)
        for layer in tensor.layers or (None,):
            name = role if layer is None else f"blk.{layer}.{role}"
            row = row_lengths.get(tensor.role)
            shape = (row, tensor.shape[0] // row) if row and len(tensor.shape) == 1 else tensor.shape
            rows.append(NamedTensor(name=name, shape=shape, type=tensor.type, bytes=tensor.bytes_each))
    return rows
