"""The header of a safetensors file: 8 bytes of length, then JSON (format: safetensors README, 100 MB at most)."""

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from fitserve.foundation.errors import InputError
from fitserve.models.readers.byte_source import ByteSource

_MOST_HEADER = 1 << 25  # the largest published shards stay below 1 MB
_BITS = {
    "F64": 64, "F32": 32, "F16": 16, "BF16": 16, "F8_E4M3": 8, "F8_E5M2": 8, "F8_E8M0": 8, "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "I64": 64, "I32": 32, "I16": 16, "I8": 8, "U64": 64, "U32": 32, "U16": 16, "U8": 8, "BOOL": 8, "C64": 64,
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredTensor:
    """One tensor of a shard."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    bytes: int


def read_safetensors_header(source: ByteSource) -> tuple[StoredTensor, ...]:
    """Tensors of a shard. Raises InputError when the header is broken or the file is cut off."""
    length = int.from_bytes(source.read(0, 8), "little") if source.size >= 8 else -1
    if not 2 <= length <= _MOST_HEADER or length > source.size - 8:
        _fail(source, f"a header of {length:,} bytes in a file of {source.size:,}")
    try:
        table = json.loads(source.read(8, length))
    except (ValueError, RecursionError) as error:
        _fail(source, f"its header is no JSON ({type(error).__name__})")
    if not isinstance(table, dict):
        _fail(source, "its header is no JSON object")
    data = source.size - 8 - length
    return tuple(_tensor(source, name, row, data) for name, row in table.items() if name != "__metadata__")


def _fail(source: ByteSource, detail: str) -> NoReturn:
    raise InputError.of("safetensors_broken", where=source.name, detail=detail)


def _tensor(source: ByteSource, name: str, row: Any, data_bytes: int) -> StoredTensor:
    if not isinstance(row, Mapping):
        _fail(source, f"tensor {name[:64]} is no object")
    dtype, shape, offsets = row.get("dtype"), row.get("shape"), row.get("data_offsets")
    if dtype not in _BITS or not isinstance(shape, list) or not isinstance(offsets, list) or len(offsets) != 2:
        _fail(source, f"tensor {name[:64]} has no valid dtype, shape and data_offsets")
    if not _are_sizes(shape) or not _are_sizes(offsets):
        _fail(source, f"tensor {name[:64]} has sizes that cannot be")
    start, end = offsets
    if not start <= end <= data_bytes:
        _fail(source, f"tensor {name[:64]} ends at byte {end:,} of {data_bytes:,}")
    if (math.prod(shape) * _BITS[dtype] + 7) // 8 != end - start:
        _fail(source, f"tensor {name[:64]}: {end - start:,} bytes do not hold its shape")
    return StoredTensor(name=name, dtype=dtype, shape=tuple(shape), bytes=end - start)


def _are_sizes(values: list[Any]) -> bool:
    return all(isinstance(item, int) and not isinstance(item, bool) and 0 <= item < 1 << 50 for item in values)
