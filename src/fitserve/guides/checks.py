"""The check list: commands that show whether the hardware is what it should be, with what they should show."""

from collections.abc import Iterator

from fitserve.foundation.facts import load_toml
from fitserve.foundation.units import MIB
from fitserve.guides.types import Check, DeviceProfile
from fitserve.hardware.types import Machine
from fitserve.search.evaluate import Evaluated

_NVIDIA = "nvidia-smi --query-gpu=index,name,memory.total,compute_cap,driver_version,pcie.link.gen.max --format=csv"
_AMD = "amd-smi static --vram --asic"


def checks(machine: Machine, profiles: tuple[DeviceProfile, ...], item: Evaluated | None) -> tuple[Check, ...]:
    """Recognised, memory, arithmetic, rates between devices, and the first speed against its prediction."""
    return tuple(_checks(machine, profiles, item))


def _checks(machine: Machine, profiles: tuple[DeviceProfile, ...], item: Evaluated | None) -> Iterator[Check]:
    vendors = {profile.device.vendor for profile in profiles}
    for profile in profiles:
        command = {"nvidia": _NVIDIA, "amd": _AMD, "apple": "sysctl hw.memsize machdep.cpu.brand_string"}
        yield Check(
            code="check_unified" if profile.device.is_unified else "check_recognised",
            command=command.get(profile.device.vendor, "fitserve probe"),
            parameters=(
                ("name", profile.device.name), ("count", profile.count), ("mib", profile.device.memory_bytes // MIB),
                ("capability", profile.device.compute_capability or ""), ("usable_bytes", profile.device.engine_visible_bytes),
                ("memory_bytes", profile.device.memory_bytes),
            ),
        )  # fmt: skip
    if not profiles:
        command_of = {"windows": "systeminfo", "macos": "sysctl hw.memsize"}
        yield Check(
            code="check_ram", command=command_of.get(machine.host.os, "lscpu && free -g"),
            parameters=(("ram_bytes", machine.host.ram_bytes or 0),),
        )  # fmt: skip
    yield Check(code="check_probe", command="fitserve probe")
    for profile in profiles:
        yield from _arithmetic(profile)
    if len(machine.devices) > 1:
        if "nvidia" in vendors:
            yield Check(code="check_topology", command="nvidia-smi topo -m")
        yield from _link(min(profiles, key=lambda profile: profile.link_bytes_per_s or 0.0))
    if item is not None and item.speed is not None:
        rate = item.speed.per_user_tok_per_s
        yield Check(
            code="check_speed", command=_bench(item),
            parameters=(
                ("model", item.deployment.model.id.rpartition("/")[2]),
                ("format", item.deployment.weight_format.name.removeprefix("gguf:")),
                ("low", f"{rate.low:.2g}"), ("likely", f"{rate.likely:.2g}"), ("high", f"{rate.high:.2g}"),
            ),
        )  # fmt: skip


def _bench(item: Evaluated) -> str:
    """The engine's own measurement of one stream, with the file of the usual name."""
    if item.deployment.engine != "llama.cpp":
        return "fitserve bench http://127.0.0.1:8000 --concurrency 1"
    name = f"{item.deployment.model.id.rpartition('/')[2]}-{item.deployment.weight_format.gguf_mix}.gguf"
    return f"llama-bench --model {name} --n-prompt 512 --n-gen 128"


def _arithmetic(profile: DeviceProfile) -> Iterator[Check]:
    rates = {rating.name: rating.flop_per_s for rating in profile.ratings if rating.flop_per_s}
    best = next((name for name in ("bf16", "fp16_tensor", "fp16") if name in rates), None)
    if best is None:
        return
    low, high = load_toml("fitserve.guides", "checklist.toml")["shares"]["matmul"]
    tera = (rates[best] or 0) / 1e12
    fp32 = (rates.get("fp32") or 0) / 1e12
    yield Check(
        code="check_matmul", command="fitserve probe",
        parameters=(
            ("gpu", profile.device.id), ("kind", best.replace("_tensor", "").upper()), ("tflops", f"{tera:.4g}"),
            ("low", f"{tera * low:.3g}"), ("high", f"{tera * high:.3g}"), ("fp32", f"{fp32:.4g}"),
        ),
    )  # fmt: skip


def _link(profile: DeviceProfile) -> Iterator[Check]:
    if profile.link_bytes_per_s is None:
        return
    low, high = load_toml("fitserve.guides", "checklist.toml")["shares"]["link"]
    rate, bridge = profile.link_bytes_per_s / 1e9, (profile.bridge_bytes_per_s or 0) / 1e9 if profile.count > 1 else 0.0
    yield Check(
        code="check_link_bridge" if bridge else "check_link", command="fitserve probe",
        parameters=(
            ("gpu", profile.device.id), ("link", str(profile.link_name)), ("rate", f"{rate:.3g}"),
            ("low", f"{rate * low:.3g}"), ("high", f"{rate * high:.3g}"), ("bridge", f"{bridge:.3g}"),
            ("bridge_low", f"{bridge * low:.3g}"), ("bridge_high", f"{bridge * high:.3g}"),
        ),
    )  # fmt: skip
