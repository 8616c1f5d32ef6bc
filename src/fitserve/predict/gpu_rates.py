"""Rates of a GPU for batching engines: operations by format, bandwidth, links, and whose kernels it inherits.

Kernel tables exist for a few data-centre cards. Another card takes those of its own generation (tier 1), or of the
nearest generation (tier 2), which the intervals of a prediction widen by.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType

from fitserve.foundation.errors import FactMissing
from fitserve.foundation.facts import load_toml
from fitserve.hardware.identify import gpu_rows
from fitserve.models.formats import WeightFormat

_WHERE = "hardware/catalog/gpus.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class GpuRates:
    """Peak rates of one device. `flop_per_s` by number type, dense; `link_bytes_per_s` one direction, None: unknown.

    `donor`: the card whose kernel tables stand for this one's; `stand_ins`: it and the others of its generation; `tier`: 0
    its own tables, 1 its generation's, 2 the nearest.
    `sets_scales`: cases and tables of its generation are many, so that the fitted scales are theirs; others have a factor.
    `derived`: number types whose rate follows from the donor's ratio to fp32, as the card's own is not in the table.
    """

    id: str
    family: str
    vendor: str
    bandwidth_bytes_per_s: float
    flop_per_s: Mapping[str, float]
    link: str
    link_bytes_per_s: float | None
    donor: str
    stand_ins: tuple[str, ...]
    tier: int
    sets_scales: bool = False
    derived: tuple[str, ...] = ()

    @property
    def has_fast_link(self) -> bool:
        """Every GPU of the node reaches every other at link speed (NVSwitch, Infinity Fabric)."""
        return self.link == "nvlink"

    def math(self, weight_format: WeightFormat) -> str:
        """The number type in which the engines multiply weights of this format on this GPU (weight-only kernels: 16 bit)."""
        family, rates = weight_format.family, self.flop_per_s
        if family == "fp8" and rates.get("fp8"):
            return "fp8"
        if family == "int8" and weight_format.name == "int8-w8a8" and rates.get("int8"):
            return "int8"
        if weight_format.name == "nvfp4" and rates.get("fp4"):
            return "fp4"
        return "bf16"


@lru_cache(maxsize=1)
def _families() -> Mapping[str, Mapping[str, object]]:
    found: Mapping[str, Mapping[str, object]] = load_toml("fitserve.predict", "families.toml")["families"]
    return found


def _family(row: Mapping[str, object]) -> str:
    """The name of a GPU's generation. Raises FactMissing for one that no kernel table stands for."""
    marks = [str(row[key]) for key in ("compute_capability", "gfx", "other_architecture") if row.get(key)]
    for name, facts in _families().items():
        starts = facts["starts"]
        assert isinstance(starts, list)
        if any(mark.startswith(start) for mark in marks for start in starts):
            return name
    raise FactMissing(f"kernel efficiency of {row['id']} in batching engines", "predict/families.toml")


def _link(row: Mapping[str, object]) -> tuple[str, float | None]:
    """(kind, bytes a second in one direction) of the best link that joins all GPUs of a node."""
    links = row["interconnects"]
    assert isinstance(links, list)
    best: tuple[str, float | None] = ("none", None)
    for item in links:
        kind, rate = str(item["kind"]), item["bytes_per_s_per_direction"]
        if rate is None or kind == "nvlink-bridge":  # a bridge is an option that joins two cards only
            continue
        name = "pcie" if kind.startswith("pcie") else "nvlink" if kind.startswith(("nvlink", "inf")) else "network"
        if best[1] is None or float(rate) > best[1]:
            best = (name, float(rate))
    return best


@lru_cache(maxsize=256)
def gpu_rates(gpu_id: str) -> GpuRates:
    """Rates of a catalogue GPU. Raises FactMissing when its bandwidth or its generation's kernels are not known."""
    row = gpu_rows()[gpu_id]
    if not row["bandwidth_bytes_per_s"]:
        raise FactMissing(f"memory bandwidth of {gpu_id}", _WHERE)
    family = _family(row)
    facts = _families()[family]
    donors = facts["donors"]
    assert isinstance(donors, list)
    donor = gpu_id if gpu_id in donors else str(donors[0])
    tier = 0 if donor == gpu_id else int(str(facts["tier"]))
    rates, derived = _flop(row, donor if facts.get("ratio_of") is None else str(facts["ratio_of"]))
    link, link_rate = _link(row)
    boards = int(row["devices_per_board"] or 1)
    return GpuRates(
        id=gpu_id, family=family, vendor=str(row["vendor"]), flop_per_s=MappingProxyType(rates), link=link,
        bandwidth_bytes_per_s=float(row["bandwidth_bytes_per_s"]) / boards, link_bytes_per_s=link_rate,
        donor=donor, stand_ins=(donor, *(str(item) for item in donors if item != donor)), tier=tier, derived=derived,
        sets_scales=bool(facts.get("sets_scales")),
    )  # fmt: skip


def _flop(row: Mapping[str, object], like: str) -> tuple[dict[str, float], tuple[str, ...]]:
    """Dense rates by type; those of 16 bit that are not in the table by the ratio to fp32 of a card of the generation."""
    own, other = row["dense_flop_per_s"], gpu_rows()[like]["dense_flop_per_s"]
    assert isinstance(own, dict)
    rates = {name: float(rate) for name, rate in own.items() if rate}
    derived: list[str] = []
    if "bf16" not in rates and "fp16" in rates:
        rates["bf16"] = rates["fp16"]
    if "bf16" in rates and "fp16" in rates:
        rates["bf16"] = max(rates["bf16"], rates["fp16"])  # engines fall back to f16 where bf16 is slower or missing
    if "bf16" not in rates:
        if "fp32" not in rates or not other.get("fp32"):
            raise FactMissing(f"16 bit operations a second of {row['id']}", _WHERE)
        for name in ("bf16", "int8", "fp8", "fp4"):
            if name not in rates and other.get(name):
                rates[name] = rates["fp32"] * float(other[name]) / float(other["fp32"])
                derived.append(name)
    if "bf16" not in rates:
        raise FactMissing(f"16 bit operations a second of {row['id']}", _WHERE)
    return rates, tuple(derived)
