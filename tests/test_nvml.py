"""NVIDIA machines from recorded answers: what is read, which notes a fault becomes, and that nothing is ever raised."""

import os
import re
import sys
import time
from pathlib import Path
from types import ModuleType

import pynvml
import pytest

import recorded_nvml
from fitserve.foundation.units import GIB
from fitserve.hardware.probe import nvidia
from fitserve.hardware.probe import nvml as nvml_reader
from fitserve.hardware.probe.nvidia_report import NvidiaFound, nvidia_found, nvidia_report
from fitserve.hardware.probe.nvml import read_nvml
from recorded_nvml import MACHINES, MIB, RecordedNvml, broken, h100_mig, v100_pair, windows_3090_pair


def _found(nvml: RecordedNvml) -> NvidiaFound:
    return nvidia_found(read_nvml(nvml))


def _codes(found: NvidiaFound) -> list[str]:
    return [reason.code for reason in found.notes]


def test_two_v100_with_their_links() -> None:
    found = _found(v100_pair())
    first = found.gpus[0]
    assert (first.catalogue_id, first.memory_bytes, first.compute_capability) == ("v100-sxm-32gb", 32 * GIB, "7.0")
    assert (first.nvlinks_up, first.nvlinks_down, first.nvlink_version, first.ecc) == (2, 4, 2, True)
    assert (found.pairs[0].path, found.pairs[0].nvlinks) == ("nvlink", 2)
    assert (found.driver, found.cuda_version) == ("535.183.01", "12.2")
    assert not found.notes


def test_a_link_that_is_not_connected_is_said() -> None:
    found = _found(v100_pair(connected=False))
    assert (found.pairs[0].path, found.pairs[0].nvlinks) == ("switch", 0)
    assert _codes(found) == ["nvlink_down"] and found.notes[0].parameters["gpu"] == ("0", "1")


def test_two_3090_under_windows() -> None:
    found = _found(windows_3090_pair())
    first, second = found.gpus
    assert (first.driver_model, first.used_bytes, first.persistence) == ("wddm", 1980 * MIB, None)
    assert [(item.name, item.used_bytes) for item in first.processes or ()] == [("other", None), ("xorg", None)]
    assert second.pcie is not None and (second.pcie.width_now, second.pcie.width_max) == (4, 16)
    assert _codes(found) == ["pcie_narrow", "nvlink_down", "gpu_wddm"]


def test_mig_shows_its_instances() -> None:
    found = _found(h100_mig())
    assert [(gpu.part_of, gpu.memory_bytes) for gpu in found.gpus] == [
        (None, 81559 * MIB),
        (0, 40320 * MIB),
        (0, 9984 * MIB),
    ]
    assert found.gpus[1].compute_capability == "9.0" and found.gpus[1].catalogue_id is None
    assert _codes(found) == ["gpu_mig", "nvml_refused"]
    assert found.notes[1].parameters["functions"] == ("nvmlDeviceGetComputeRunningProcesses",)


def test_eight_b200_behind_a_switch() -> None:
    found = _found(MACHINES["b200"]())
    assert {gpu.catalogue_id for gpu in found.gpus} == {"b200-sxm-180gb"}
    assert len(found.pairs) == 28 and {(pair.path, pair.nvlinks) for pair in found.pairs} == {("nvswitch", 18)}
    hot = found.gpus[2]
    assert hot.throttle == ("power_cap", "software_thermal") and hot.power_limit_w == 800
    assert _codes(found) == ["gpu_throttled", "power_limited"]
    assert found.cuda_version == "13.0"


def test_an_old_driver_leaves_gaps_and_no_error() -> None:
    gpu = _found(MACHINES["gtx1080"]()).gpus[0]
    assert (gpu.memory_bytes, gpu.used_bytes, gpu.throttle) == (8 * GIB, 3 * MIB, ())
    assert (gpu.power_w, gpu.temperature_c, gpu.mig, gpu.ecc, gpu.nvlinks_up) == (None, None, None, None, None)
    assert gpu.fault is None


def test_a_lost_gpu_and_a_forbidden_one_leave_the_others() -> None:
    found = _found(MACHINES["lost"]())
    assert [gpu.fault for gpu in found.gpus] == [None, "lost", "no_permission"]
    assert _codes(found) == ["gpu_lost", "gpu_no_permission"]


def test_a_gpu_that_is_lost_while_it_is_asked() -> None:
    nvml = v100_pair()
    nvml.gpus[1] |= {"Temperature": -pynvml.NVML_ERROR_GPU_IS_LOST}
    assert [gpu.fault for gpu in _found(nvml).gpus] == [None, "lost"]


def test_memory_that_is_not_available_is_unknown() -> None:
    nvml = v100_pair()
    nvml.gpus[0]["memory"] = (32 * GIB, (1 << 64) - 1)
    gpu = _found(nvml).gpus[0]
    assert (gpu.memory_bytes, gpu.used_bytes, gpu.free_bytes) == (32 * GIB, None, None)


def test_a_name_with_control_characters_is_made_plain() -> None:
    nvml = v100_pair()
    nvml.gpus[0]["Name"] = b"Tesla\x1b[31m V100\n" + b"x" * 200
    name = _found(nvml).gpus[0].name
    assert name is not None and name.startswith("Tesla [31m V100 xxx") and len(name) == 80


def _child(folder: Path, body: str, monkeypatch: pytest.MonkeyPatch) -> tuple[str, ...]:
    """The real child with a `pynvml` of ours in its way."""
    real = Path(str(pynvml.__file__)).read_text(encoding="utf-8")
    (folder / "real_pynvml.py").write_text(real, encoding="utf-8")
    tests = str(Path(__file__).parent)
    lines = ["import sys, time", f"sys.path.insert(0, {tests!r})", "import real_pynvml"]
    lines += ["sys.modules['pynvml'] = real_pynvml", "import recorded_nvml", body]
    (folder / "pynvml.py").write_text("\n".join(lines), encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), *sys.path]))
    return (sys.executable, "-m", "fitserve.hardware.probe.nvml_child")


def _answering(made: str) -> str:
    return f"made = recorded_nvml.{made}\nsys.modules['pynvml'] = made"


@pytest.mark.parametrize("name", ["v100_pair", "b200_eight", "one_lost"])
def test_the_process_says_what_the_call_says(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    expected = _found(getattr(recorded_nvml, name)())
    assert nvidia_report(_child(tmp_path, _answering(f"{name}()"), monkeypatch)) == expected


@pytest.mark.parametrize(
    ("code", "expected"),
    [(9, []), (12, []), (18, ["nvml_version_mismatch"]), (4, ["nvml_no_permission"]), (999, ["nvml_failed"])],
)
def test_a_driver_that_does_not_start(
    code: int, expected: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert read_nvml(broken(code))["init_error"] == code
    found = nvidia_report(_child(tmp_path, _answering(f"broken({code})"), monkeypatch))
    assert (found.gpus, _codes(found)) == ((), expected)


def test_a_driver_that_hangs_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    command = _child(tmp_path, _answering("v100_pair()") + "\nmade.nvmlInit = lambda: time.sleep(60)", monkeypatch)
    start = time.monotonic()
    found = nvidia_report(command, timeout_s=1.5)
    assert time.monotonic() - start < 10
    assert (found.gpus, _codes(found)) == ((), ["nvml_hangs"])


def test_a_driver_that_crashes_its_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    body = _answering("v100_pair()") + "\nimport os\nmade.nvmlInit = lambda: os.abort()"
    found = nvidia_report(_child(tmp_path, body, monkeypatch))
    assert _codes(found) == ["nvml_crashed"]


def test_a_plan_for_this_machine_counts_mig_instances(monkeypatch: pytest.MonkeyPatch) -> None:
    recorded: ModuleType = h100_mig()
    for name in (
        "NVMLError_NotFound",
        "NVMLError_NotSupported",
        "NVMLError_LibraryNotFound",
        "NVMLError_DriverNotLoaded",
    ):
        setattr(recorded, name, getattr(pynvml, name))
    monkeypatch.setitem(sys.modules, "pynvml", recorded)
    devices = nvidia.nvidia_devices(0)
    assert [(device.id, device.memory_bytes) for device in devices] == [
        ("NVIDIA H100 80GB HBM3 MIG 3g.40gb", 40320 * MIB),
        ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", 9984 * MIB),
    ]


def test_every_function_that_is_asked_exists() -> None:
    asked = set(re.findall(r"nvml[A-Z]\w+|NVML_\w+", Path(str(nvml_reader.__file__)).read_text(encoding="utf-8")))
    named = {name for name in asked if not name.startswith(("NVML_ERROR_GPU", "NVML_NVLINK_DEVICE"))}
    assert len(named) > 30 and not {name for name in named if not hasattr(pynvml, name)}


def test_a_slot_with_fewer_lanes_than_the_card(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml = windows_3090_pair()
    nvml.gpus[1]["MaxPcieLinkWidth"] = 4
    (narrow,) = [item for item in _found(nvml).notes if item.code == "pcie_narrow"]
    assert (narrow.parameters["now"], narrow.parameters["most"]) == (4, 16)


def test_no_private_value_leaves_the_reader() -> None:
    for made in MACHINES.values():
        text = repr(_found(made()))
        for private in ("secret", "kim", "pid", "uuid", "serial"):
            assert private not in text.lower()
