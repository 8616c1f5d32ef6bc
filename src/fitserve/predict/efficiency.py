"""How near to a GPU's peak rates the engines' kernels come, by size: time curves interpolated from measured tables.

Times in seconds, sizes in bytes, operations as counted by predict.work. Tables: predict/data/efficiency.json.
"""

import math
from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from fitserve.foundation.errors import FactMissing
from fitserve.foundation.facts import load_json
from fitserve.predict.gpu_rates import GpuRates

_MB = 1e6
# Middles of the size classes of the table; the smallest weight class ends where the launch floor begins.
_WEIGHT_SIZES = (0.5 * _MB, 8 * _MB, 32 * _MB, 128 * _MB, 600 * _MB)
_CACHE_SIZES = (0.25 * _MB, 3 * _MB, 23 * _MB, 180 * _MB, 1000 * _MB)
_BATCHES = (45.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0, 8192.0)
_LENGTHS = (16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 1536.0, 2048.0, 3072.0, 4096.0, 6144.0, 8192.0, 16384.0)
_EXPERT_TOKENS = (1.0, 4.0, 32.0, 256.0, 2048.0, 10240.0)
_MESSAGES = (16384.0, 65536.0, 262144.0, 1048576.0, 8388608.0)
_TABLE_NAMES = {"tensorrt-llm": "trtllm"}
# Formats whose kernels stand for one that a GPU has no table of, nearest first.
_GEMM_LIKE = {
    "f16": ("bf16",), "fp8-block": ("fp8-block", "fp8", "int8-weight-only"), "fp8": ("fp8", "fp8-block", "int8-weight-only"),
    "int8-w8a8": ("sq", "fp8", "int8-weight-only"), "gptq-8bit": ("int8-weight-only",), "mxfp4": ("w4a16",),
    "nvfp4": ("nvfp4", "w4a16"),
}  # fmt: skip
_MOE_LIKE = {
    "f16": ("bf16",), "fp8-block": ("fp8-block", "fp8"), "fp8": ("fp8", "fp8-block"), "int8-w8a8": ("fp8",),
    "gptq-8bit": ("fp8", "bf16"), "mxfp4": ("mxfp4", "w4a16"), "nvfp4": ("nvfp4", "w4a16"),
}  # fmt: skip
_FOUR_BIT = "a100-sxm-80gb"  # the one card with a table of 4-bit weight-only GEMM


def _points(sizes: Sequence[float], utilisation: Sequence[float | None]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    pairs = [(math.log(size), value) for size, value in zip(sizes, utilisation, strict=True) if value]
    return tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs)


@dataclass(frozen=True, slots=True)
class Curve:
    """A utilisation by the logarithm of a size, linear between the points, flat outside."""

    at: tuple[float, ...]
    values: tuple[float, ...]

    def __call__(self, size: float) -> float:
        """The utilisation at `size`."""
        x = math.log(size) if size > 0 else -math.inf
        index = bisect_right(self.at, x)
        if index == 0:
            return self.values[0]
        if index == len(self.at):
            return self.values[-1]
        low, high = self.at[index - 1], self.at[index]
        share = (x - low) / (high - low)
        return self.values[index - 1] * (1 - share) + self.values[index] * share


@dataclass(frozen=True, slots=True)
class TimeCurve:
    """Time to read bytes: between measured sizes linear in the logarithms, below them the floor, above them at the last rate."""

    log_sizes: tuple[float, ...]
    log_times: tuple[float, ...]
    bytes_per_s: float
    floor: float

    def __call__(self, size: float) -> float:
        """Seconds to read `size` bytes."""
        if size <= 0:
            return 0.0
        x, at = math.log(size), self.log_sizes
        index = bisect_right(at, x)
        if index == len(at):
            return size / self.bytes_per_s
        if index == 0:
            return max(self.floor, math.exp(self.log_times[0]) * min(1.0, size / math.exp(at[0])))
        share = (x - at[index - 1]) / (at[index] - at[index - 1])
        return math.exp(self.log_times[index - 1] * (1 - share) + self.log_times[index] * share)


def _time_curve(
    sizes: Sequence[float], utilisation: Sequence[float | None], bandwidth: float, floor: float
) -> TimeCurve:
    # reads that sat in the cache (more than the bandwidth) say nothing of a step that reads all weights
    at, values = _points(sizes, [min(0.95, value) if value else None for value in utilisation])
    times: list[float] = []
    for x, value in zip(at, values, strict=True):  # a larger read never takes less time
        times.append(max(math.log(math.exp(x) / (bandwidth * value)), times[-1] if times else math.log(floor)))
    return TimeCurve(at, tuple(times), math.exp(at[-1] - times[-1]), floor)


@dataclass(frozen=True, slots=True)
class GemmKernel:
    """One format's matrix multiplication on one GPU."""

    read_s: TimeCurve
    flop_use: Curve
    flop_per_s: float

    def seconds(self, size: float, flop: float, rows: float) -> float:
        """Time of one call over `rows` tokens: as long as reading takes, or computing."""
        return max(self.read_s(size), flop / (self.flop_per_s * self.flop_use(rows)))


@dataclass(frozen=True, slots=True)
class ExpertKernel:
    """One format's fused experts on one GPU: utilisation of the roofline by tokens in the call."""

    use: Curve
    bandwidth_bytes_per_s: float
    flop_per_s: float
    floor: float

    def seconds(self, size: float, flop: float, tokens: float) -> float:
        """Time of one layer's experts of which `size` bytes are touched."""
        return max(
            self.floor, max(size / self.bandwidth_bytes_per_s, flop / self.flop_per_s) / min(0.95, self.use(tokens))
        )


@dataclass(frozen=True, slots=True)
class AllReduce:
    """One all-reduce among the ranks: latency by bytes, bus bandwidth beyond the largest measured message."""

    log_sizes: tuple[float, ...]
    times: tuple[float, ...]
    bytes_per_s: float
    """Message bytes a second, the 2(n-1)/n of the ring included."""

    def seconds(self, size: float) -> float:
        """Time of an all-reduce over `size` bytes."""
        x, at = math.log(max(size, 1.0)), self.log_sizes
        index = bisect_right(at, x)
        if index == 0:
            return self.times[0]
        if index == len(at):
            return self.times[-1] + (size - math.exp(at[-1])) / self.bytes_per_s
        share = (x - at[index - 1]) / (at[index] - at[index - 1])
        return self.times[index - 1] * (1 - share) + self.times[index] * share


def _table(op: str) -> Mapping[str, Mapping[str, Mapping[str, Mapping[str, Any]]]]:
    found: Mapping[str, Any] = load_json("fitserve.predict", "data/efficiency.json")[op]
    return found


def _rows(op: str, gpu: str, engine: str) -> Iterator[Mapping[str, Mapping[str, Any]]]:
    """Tables of a GPU: the engine's own, then the median of the engines."""
    engines = _table(op).get(gpu, {})
    for name in (_TABLE_NAMES.get(engine, engine), "*"):
        if name in engines:
            yield engines[name]


def _first(op: str, gpu: str, engine: str, names: Sequence[str]) -> Mapping[str, Any] | None:
    for name in names:
        for formats in _rows(op, gpu, engine):
            if name in formats:
                return formats[name]
    return None


def _first_of(op: str, gpu: GpuRates, engine: str, names: Sequence[str]) -> Mapping[str, Any] | None:
    """The same over the cards that stand for a GPU, its donor first."""
    rows = (_first(op, donor, engine, names) for donor in gpu.stand_ins)
    return next((row for row in rows if row is not None), None)


@lru_cache(maxsize=512)
def gemm_kernel(rates: "GpuKey", engine: str, format_name: str, math_type: str) -> GemmKernel:
    """The dense kernel of a weight format."""
    gpu = rates.rates
    names = _GEMM_LIKE.get(format_name, ("w4a16",) if format_name not in {"bf16", "f32"} else ("bf16",))
    row = _first_of("gemm", gpu, engine, names)
    if row is None and format_name not in {"bf16", "f16", "f32"}:
        row = _first("gemm", _FOUR_BIT, engine, names)
    row = row or _first_of("gemm", gpu, engine, ("bf16",))
    if row is None:
        raise FactMissing(f"GEMM efficiency of {gpu.donor}", "predict/data/efficiency.json")
    flop_per_s = gpu.flop_per_s.get(math_type) or gpu.flop_per_s["bf16"]
    floor = float(row["floor_us"][0] or 3.0) * 1e-6
    use = Curve(*_points(_BATCHES, [min(0.95, v) if v else None for v in row["flop"]]))
    return GemmKernel(
        _time_curve(_WEIGHT_SIZES, row["weights"], gpu.bandwidth_bytes_per_s, min(floor, 6e-6)), use, flop_per_s
    )


@lru_cache(maxsize=512)
def expert_kernel(rates: "GpuKey", engine: str, format_name: str, math_type: str) -> ExpertKernel:
    """The experts' kernel of a weight format."""
    gpu = rates.rates
    names = _MOE_LIKE.get(format_name, ("w4a16",) if format_name not in {"bf16", "f32"} else ("bf16",))
    row = _first_of("moe", gpu, engine, names)
    row = row or _first_of("moe", gpu, engine, ("w4a16", "bf16"))
    if row is None:
        raise FactMissing(f"efficiency of experts on {gpu.donor}", "predict/data/efficiency.json")
    use = Curve(*_points(_EXPERT_TOKENS, row["roofline"]))
    flop_per_s = gpu.flop_per_s.get(math_type) or gpu.flop_per_s["bf16"]
    floor = min(30.0, float(row["floor_us"][0] or 20.0)) * 1e-6
    return ExpertKernel(use, gpu.bandwidth_bytes_per_s, flop_per_s, floor)


@lru_cache(maxsize=256)
def cache_read(rates: "GpuKey", engine: str, is_fp8: bool) -> TimeCurve:
    """Decode attention of one layer, by the bytes of cache that the call reads."""
    gpu = rates.rates
    row = _first_of("attention decode", gpu, engine, ("kv fp8", "kv bf16") if is_fp8 else ("kv bf16",))
    if row is None:
        raise FactMissing(f"attention efficiency of {gpu.donor}", "predict/data/efficiency.json")
    floor = min(12.0, float(row["floor_us"][0] or 8.0)) * 1e-6
    return _time_curve(_CACHE_SIZES, row["cache"], gpu.bandwidth_bytes_per_s, floor)


@lru_cache(maxsize=256)
def prefill_use(rates: "GpuKey", engine: str) -> Curve:
    """Utilisation of the 16-bit rate by prefill attention, by sequence length."""
    gpu = rates.rates
    row = _first_of("attention prefill", gpu, engine, ("bf16",))
    if row is None:
        raise FactMissing(f"attention efficiency of {gpu.donor}", "predict/data/efficiency.json")
    return Curve(*_points(_LENGTHS, row["flop"]))


# Share of the link's rate that all-reduce reaches, and its floor by ranks (overheads of the same tables).
_BUS_SHARE = {"nvlink": 0.75, "pcie": 0.55, "network": 0.5, "none": 0.5}
_FLOORS_US = {"nvlink": {2: 6.6, 4: 10.1, 8: 16.1}, "pcie": {2: 7.0, 4: 13.2, 8: 26.0}}
_NETWORK_FLOOR_US = 30.0
_UNKNOWN_LINK = 16e9


@lru_cache(maxsize=256)
def all_reduce(rates: "GpuKey", engine: str, ranks: int) -> AllReduce:
    """All-reduce among the GPUs of a node: measured for this GPU, else from its link."""
    gpu = rates.rates
    is_like = gpu.tier == 0 or (gpu.tier == 1 and gpu.link == "nvlink")
    donors = (_table("collective all_reduce").get(name) for name in gpu.stand_ins)
    tables = next((found for found in donors if found), {}) if is_like else {}
    own = tables.get(_TABLE_NAMES.get(engine, engine)) or tables.get("nccl")
    size = next((n for n in (2, 4, 8) if n >= ranks), 8)
    cells = own.get(f"{size} GPUs") if own else None
    if cells is None and own is not None:
        cells = own.get("4 GPUs")
    ring = 2 * (ranks - 1) / ranks
    if cells is not None:
        row = cells["all_reduce"]
        times = tuple(float(value) * 1e-6 for value in row[1:6])
        return AllReduce(tuple(map(math.log, _MESSAGES)), times, float(row[6]) * 1e9 / ring)
    rate = (gpu.link_bytes_per_s or _UNKNOWN_LINK) * _BUS_SHARE[gpu.link]
    floor = _FLOORS_US.get(gpu.link, {}).get(size, _NETWORK_FLOOR_US) * 1e-6
    times = tuple(floor + message * ring / rate for message in _MESSAGES)
    return AllReduce(tuple(map(math.log, _MESSAGES)), times, rate / ring)


@dataclass(frozen=True, slots=True, eq=False)
class GpuKey:
    """Rates as a cache key: one object per GPU."""

    rates: GpuRates


_KEYS: dict[str, GpuKey] = {}


def key_of(rates: GpuRates) -> GpuKey:
    """The key of these rates; other rates under the same id (a what-if) get a key of their own."""
    known = _KEYS.get(rates.id)
    if known is None or known.rates != rates:
        known = GpuKey(rates)
        if rates.id not in _KEYS:
            _KEYS[rates.id] = known
    return known
