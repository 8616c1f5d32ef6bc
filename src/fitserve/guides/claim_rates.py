"""Claims about rates: tokens a second, arithmetic, links between devices, processors."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from fitserve.guides.claim_world import ClaimWorld, gigabytes, make, plain_format, short_name
from fitserve.guides.hardware import choices
from fitserve.guides.judge import rate_of, read_bytes
from fitserve.guides.types import Claim
from fitserve.hardware.identify import gpu_rows
from fitserve.search.evaluate import Evaluated

_SINGLE_TOLERANCE = 0.15
"""A single figure within this share of the likely one is not called wrong."""
_SMALL_GAIN = 1.15
_CLAIMED_GAIN = 1.4
"""AWQ is said to be 1.5 times as fast."""


def _speed(world: ClaimWorld, rule: Mapping[str, Any]) -> Iterator[Claim]:
    """A rate above what the memory can read, or beside the prediction; nothing of models that do not fit here."""
    said: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for model_id, name, low, high in rule["rows"]:
        said.setdefault((model_id, name), []).append((low, high))
    for (model_id, name), ranges in said.items():
        item = world.judged("all", model_id, name)
        ceiling = None if item is None else ceiling_tok_per_s(item)
        if item is None:
            continue
        claimed = ", ".join(f"{low}" if low == high else f"{low}–{high}" for low, high in ranges)
        common = {"model": short_name(model_id), "format": plain_format(name), "claimed": claimed}
        if not item.fits:
            if item.is_memory_only and "slow_70b" not in rule["when"]:
                yield make("speed_of_nothing", common)
            continue
        likely = rate_of(item)
        if (
            not likely
            or ceiling is None
            or item.speed is None
            or not any(_is_wrong(*given, likely, ceiling) for given in ranges)
        ):
            continue
        high = max(most for _, most in ranges)
        if "slow_70b" in rule["when"] and likely > high:
            continue  # faster hardware: nothing to warn of
        band = item.speed.per_user_tok_per_s
        code = "speed_impossible" if high > ceiling else "speed"
        yield make(
            code,
            {
                **common, "likely": _rate(likely), "low": _rate(band.low), "high": _rate(band.high), "ceiling": f"{ceiling:.1f}",
                "bandwidth": f"{_bandwidth(item) / 1e9:,.0f}", "read": gigabytes(read_bytes(item) or 0),
            },
        )  # fmt: skip


def _is_wrong(low: float, high: float, likely: float, ceiling: float) -> bool:
    if high > ceiling:
        return True
    if low == high:
        return abs(low / likely - 1) > _SINGLE_TOLERANCE
    return not low <= likely <= high


def _rate(value: float) -> str:
    return f"{value:.0f}" if value >= 10 else f"{value:.1f}"


def ceiling_tok_per_s(item: Evaluated) -> float | None:
    """The rate at which memory could read the weights of a token, layers in turn: nothing can be faster."""
    read, bandwidth = read_bytes(item), _bandwidth(item)
    return bandwidth / read if read and bandwidth else None


def _bandwidth(item: Evaluated) -> float:
    """Devices that take layers in turn read at the rate of one; those that share every matrix add up."""
    used = item.deployment.machine.devices[: item.deployment.device_count]
    rates = [float(device.bandwidth_bytes_per_s or 0) for device in used]
    return max(rates, default=0.0) * max(1, item.deployment.tp)


def _matmul(world: ClaimWorld, rule: Mapping[str, Any]) -> Iterator[Claim]:
    """FP32 arithmetic taken for the speed of the card."""
    device = world.rig.machine.devices[0]
    rates = gpu_rows().get(device.id, {}).get("dense_flop_per_s") or {}
    fp32, half, measured = rates.get("fp32"), rates.get("fp16"), rule["measured_tflops"]
    if not fp32 or not half or half < 2 * fp32 or measured * 1e12 > fp32:
        return
    yield make(
        "matmul",
        {
            "measured": f"{measured}", "gpu": device.id, "fp32": f"{fp32 / 1e12:.1f}", "half": f"{half / 1e12:.0f}",
            "share32": f"{100 * measured * 1e12 / fp32:.0f} %", "share16": f"{100 * measured * 1e12 / half:.0f} %",
        },
    )  # fmt: skip


def _link(world: ClaimWorld, rule: Mapping[str, Any]) -> Iterator[Claim]:
    """A rate between devices that shows the link is not used."""
    for profile in world.profiles:
        rate, measured = profile.link_bytes_per_s, rule["measured_gb_per_s"]
        if rate is None or measured * 1e9 > rate / 2:
            continue
        yield make(
            "link",
            {
                "measured": f"{measured}", "gpu": profile.device.id, "link": str(profile.link_name), "rate": f"{rate / 1e9:.0f}",
                "share": f"{100 * measured * 1e9 / rate:.0f} %",
            },
        )  # fmt: skip


def _nvlink_layers(world: ClaimWorld, rule: Mapping[str, Any]) -> Iterator[Claim]:
    """What passes between devices cut by layers is a vector a token."""
    item = world.comparison
    profile = next((p for p in world.profiles if p.link_bytes_per_s), None)
    if item is None or profile is None or profile.link_bytes_per_s is None:
        return
    hop = item.deployment.model.hidden_size * 2
    yield make(
        "nvlink_layers",
        {
            "model": short_name(item.deployment.model.id), "hop_bytes": hop, "width": item.deployment.model.hidden_size,
            "rate": f"{profile.link_bytes_per_s / 1e9:.0f}", "micros": f"{hop / profile.link_bytes_per_s * 1e6:.2f}",
        },
    )  # fmt: skip


def _two_devices(world: ClaimWorld, rule: Mapping[str, Any]) -> Iterator[Claim]:
    """Layers in turn do not make one answer faster."""
    name, shown = "meta-llama/Llama-3.1-8B-Instruct", "gguf:Q4_K_M"
    one, every = world.judged("one", name, shown), world.judged("all", name, shown)
    if one is None or every is None or not rate_of(one) or not rate_of(every):
        return
    if rate_of(every) < _SMALL_GAIN * rate_of(one):
        yield make(
            "two_devices",
            {
                "count": len(world.rig.machine.devices), "model": short_name(name), "format": plain_format(shown),
                "one": _rate(rate_of(one)), "all": _rate(rate_of(every)),
            },
        )  # fmt: skip


def _no_nvlink(world: ClaimWorld, rule: Mapping[str, Any]) -> Iterator[Claim]:
    """Cards that have no NVLink at all."""
    profile = world.profiles[0]
    rate = profile.link_bytes_per_s
    if rate is not None:
        yield make("no_nvlink", {"gpu": profile.device.id, "link": str(profile.link_name), "rate": f"{rate / 1e9:.0f}"})


def _awq_gptq(world: ClaimWorld, rule: Mapping[str, Any]) -> Iterator[Claim]:
    """Both are four bits in groups, read by the same kernels."""
    model = "Qwen/Qwen2.5-7B-Instruct"
    awq, gptq = (world.judged("one", model, name, "vllm") for name in ("awq-4bit", "gptq-4bit"))
    if awq is None or gptq is None or not rate_of(awq) or not rate_of(gptq):
        return
    if rate_of(awq) < _CLAIMED_GAIN * rate_of(gptq):
        yield make("awq_gptq", {"model": short_name(model), "awq": _rate(rate_of(awq)), "gptq": _rate(rate_of(gptq))})


def _ram_channels(world: ClaimWorld, rule: Mapping[str, Any]) -> Iterator[Claim]:
    """A processor reads weights at the rate of its memory, whatever its cores."""
    item = world.comparison
    read = None if item is None else read_bytes(item)
    if item is None or read is None:
        return
    memories = choices()["ceilings"]["memories"]
    figures = tuple(f"{name} ({rate} GB/s) {_rate(rate * 1e9 / read)}" for name, rate in memories)
    yield make(
        "ram_channels",
        {
            "model": short_name(item.deployment.model.id), "format": plain_format(item.deployment.weight_format.name),
            "read": gigabytes(read), "figures": figures,
        },
    )  # fmt: skip


RATES: Mapping[str, Callable[[ClaimWorld, Mapping[str, Any]], Iterator[Claim]]] = {
    "speed": _speed, "matmul": _matmul, "link": _link, "nvlink_layers": _nvlink_layers, "two_devices": _two_devices,
    "no_nvlink": _no_nvlink, "awq_gptq": _awq_gptq, "ram_channels": _ram_channels,
}  # fmt: skip
