"""Memory rates of processors by name: what layers in RAM and machines without a GPU are read at."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fitserve.foundation.facts import load_toml

MEASURED = "measured-here"
_SOCKETS = re.compile(r"^\s*(\d+)\s*x\s+", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Processor:
    """A processor with the fastest memory that its maker states; `sockets` of them share the work."""

    id: str
    cores: int
    bandwidth_bytes_per_s: float
    flop_per_s: float
    """FP32, all cores at base-to-boost midpoint, two fused multiply-adds of the vector width a cycle."""
    sockets: int = 1


def _key(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "", re.sub(r"\((r|tm)\)", "", text.lower()))


@lru_cache(maxsize=1)
def _rows() -> tuple[tuple[str, Mapping[str, Any]], ...]:
    rows = [
        (_key(name), row)
        for row in load_toml("fitserve.hardware.catalog", "cpus.toml")["cpus"]
        for name in row["names"]
    ]
    return tuple(sorted(rows, key=lambda pair: -len(pair[0])))  # the longest name that fits is the exact one


@lru_cache(maxsize=256)
def processor(name: str | None) -> Processor | None:
    """The processor that a name means (`2x Intel Xeon Gold 6138`); None when it is not in the table."""
    if not name:
        return None
    match = _SOCKETS.match(name)
    sockets = int(match[1]) if match else 1
    wanted = _key(name[match.end() :] if match else name)
    for key, row in _rows():
        if key in wanted:
            return Processor(
                id=row["id"],
                cores=row["cores"] * sockets,
                bandwidth_bytes_per_s=row["channels"] * 8e6 * row["mt_per_s"] * sockets,
                flop_per_s=row["cores"] * row["ghz"] * 1e9 * row["flop_per_cycle"] * sockets,
                sockets=sockets,
            )
    return None


def measured_processor(read_bytes_per_s: float, cores: float, isa: tuple[str, ...]) -> Processor:
    """A processor that is not in the table, from the rate at which it was seen to read its memory.

    The laws of speed start from what the memory's wires carry, of which a measured read is a known share; the arithmetic rate
    is an assumption by the widest vectors (`[unknown]` of cpus.toml).
    """
    facts = load_toml("fitserve.hardware.catalog", "cpus.toml")["unknown"]
    width = next((name for name in ("AVX-512", "AVX2") if name in isa), "other")
    return Processor(
        id=MEASURED,
        cores=max(1, round(cores)),
        bandwidth_bytes_per_s=read_bytes_per_s / facts["read_share_of_wire"],
        flop_per_s=max(1, round(cores)) * facts["ghz"] * 1e9 * facts["flop_per_cycle"][width],
    )
