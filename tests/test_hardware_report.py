"""Verdicts on rates, the report as JSON and Markdown, and plans for the machine of a report."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from conftest import Ran
from fitserve.foundation.errors import InputError
from fitserve.foundation.reasons import Severity
from fitserve.foundation.units import GIB
from fitserve.hardware.judge_rates import judge, judge_rates
from fitserve.hardware.probe import take_report as taking
from fitserve.hardware.probe.nvidia_report import nvidia_found
from fitserve.hardware.probe.nvml import read_nvml
from fitserve.hardware.report import CpuReading, DiskReading, HardwareReport, RamReading, Rate, SystemReading
from fitserve.hardware.report_file import machine_of_report
from fitserve.render.machine_report import report_form, report_markdown
from fitserve.render.texts import texts
from recorded_nvml import MACHINES, RecordedNvml, v100_pair, windows_3090_pair

Cli = Callable[..., Ran]


def report_of(nvml: RecordedNvml | None = None, **changes: Any) -> HardwareReport:
    """A report of a machine with these GPUs."""
    found = nvidia_found(read_nvml(nvml)) if nvml is not None else nvidia_found({})
    usual: dict[str, Any] = {
        "taken": "2026-11-20", "seconds": 1.5, "system": SystemReading(os="linux", nvidia_driver=found.driver),
        "cpu": CpuReading(name="AMD Ryzen 9 7950X 16-Core Processor", sockets=1, cores=16, threads=32, usable_cpus=32.0),
        "ram": RamReading(total_bytes=64 * GIB, modules=2, channels=2, mt_per_s=5200, peak_bytes_per_s=83.2e9),
        "disk": DiskReading(kind="nvme", free_bytes=500 * GIB), "gpus": found.gpus, "pairs": found.pairs, "notes": found.notes,
    }  # fmt: skip
    return HardwareReport(**(usual | changes))


def _rate(what: str, per_s: float, **more: Any) -> Rate:
    return Rate(what=what, per_s=per_s, method="method_gpu_torch", **more)


def test_the_v100_guide_gets_its_numbers_judged() -> None:
    """12.53 TFLOPS in FP32 are normal; 7.5 GB/s between cards that NVLink joins are not, though the guide called them good."""
    report = report_of(v100_pair())
    product = judge(_rate("gpu_matrix", 12.53e12, gpu=0, dtype="fp32"), report)
    assert (product.verdict, product.datasheet_per_s) == ("normal", 15.7e12)
    assert product.share == pytest.approx(0.798, abs=0.001)
    between = judge(_rate("gpu_to_gpu", 7.5e9, gpu=0, peer=1), report)
    assert (between.verdict, between.datasheet_per_s) == ("slow", 50e9)  # two of six links of 150 GB/s
    assert [reason.code for reason in between.likely] == ["likely_nvlink_unused"]


def test_pcie_by_lanes_and_the_narrow_slot() -> None:
    report = report_of(windows_3090_pair())
    good = judge(_rate("host_to_device", 25e9, gpu=0), report)
    narrow = judge(_rate("host_to_device", 6.2e9, gpu=1), report)
    assert (good.verdict, narrow.verdict) == ("normal", "slow")
    assert good.datasheet_per_s == pytest.approx(31.5e9, rel=0.001)
    assert [(r.code, r.parameters["now"]) for r in narrow.likely] == [("likely_pcie_width", 4)]
    peer = judge(_rate("gpu_to_gpu", 5e9, gpu=0, peer=1), report)
    assert [reason.code for reason in peer.likely] == ["likely_wddm_peer"]


def test_a_held_or_busy_gpu_is_named_as_the_cause() -> None:
    report = report_of(MACHINES["b200"]())
    held = judge(_rate("gpu_matrix", 700e12, gpu=2, dtype="bf16"), report)
    busy = judge(_rate("gpu_memory", 3e12, gpu=0), report)
    plain = judge(_rate("gpu_memory", 3e12, gpu=3), report)
    assert [reason.code for reason in held.likely] == ["likely_thermal", "likely_power_limit"]
    assert [reason.code for reason in busy.likely] == ["likely_busy_gpu"]
    assert [reason.code for reason in plain.likely] == ["likely_gpu"]
    loaded = replace(report, gpus=tuple(replace(gpu, throttle_loaded=("power_cap",)) for gpu in report.gpus))
    assert [r.code for r in judge(_rate("gpu_matrix", 700e12, gpu=3, dtype="bf16"), loaded).likely] == ["likely_power"]


@pytest.mark.parametrize(("share", "verdict"), [(0.71, "slow"), (0.73, "normal"), (1.05, "normal"), (1.2, "above")])
def test_shares_and_verdicts(share: float, verdict: str) -> None:
    found = judge(_rate("gpu_memory", 900e9 * share, gpu=0), report_of(v100_pair()))
    assert found.verdict == verdict and found.source is not None


def test_memory_by_its_modules_or_by_the_processor() -> None:
    report = report_of()
    assert judge(_rate("ram_read", 60e9), report).datasheet_per_s == 83.2e9
    unread = replace(report, ram=RamReading(total_bytes=64 * GIB))
    assert judge(_rate("ram_read", 60e9), unread).datasheet_per_s == pytest.approx(2 * 8 * 5200e6)
    one = replace(report, ram=replace(report.ram, modules=1, channels=1))
    assert [r.code for r in judge(_rate("ram_read", 20e9), one).likely] == ["likely_one_channel"]
    shared = replace(unread, cpu=replace(report.cpu, usable_cpus=2.0))
    assert judge(_rate("ram_read", 10e9), shared).verdict == "part_of_machine"
    unknown = replace(unread, cpu=CpuReading(name="Imaginary 1"))
    assert judge(_rate("cpu_matrix", 1e12), unknown).verdict == "no_datasheet"


def test_disks_by_their_kind() -> None:
    report = report_of()
    assert judge(_rate("disk_read", 3e9), report).verdict == "normal"
    slow = judge(_rate("disk_read", 0.4e9), report)
    assert slow.verdict == "slow" and slow.likely[0].parameters["kind"] == "nvme"
    assert judge(_rate("disk_read", 1e9), replace(report, disk=DiskReading(kind="virtual"))).verdict == "no_datasheet"


def test_no_verdict_on_mig_and_unknown_cards() -> None:
    assert judge(_rate("gpu_memory", 1e12, gpu=0), report_of(MACHINES["mig"]())).verdict == "no_datasheet"
    assert judge(_rate("gpu_memory", 1e12, gpu=0), report_of(MACHINES["gtx1080"]())).verdict == "no_datasheet"
    assert judge(_rate("gpu_memory", 1e12, gpu=9), report_of(v100_pair())).verdict == "no_datasheet"


def _form(report: HardwareReport, language: str = "en") -> Any:
    return json.loads(json.dumps(report_form(report, judge_rates(report), texts(language))))


@pytest.mark.parametrize("name", sorted(MACHINES))
def test_every_machine_in_both_languages_and_forms(name: str) -> None:
    rates = (_rate("gpu_memory", 1e11, gpu=0), _rate("disk_read", 1e9), _rate("gpu_matrix", 1e12, gpu=0, dtype="int8"))
    report = report_of(MACHINES[name](), rates=rates)
    for language in ("en", "ko"):
        markdown = report_markdown(report, judge_rates(report), texts(language))
        assert "| --- |" in markdown and "{" not in markdown and len(_form(report, language)["rates"]) == 3
        for private in ("secret", "kim", "/home"):
            assert private not in markdown + json.dumps(_form(report, language))


def test_a_report_reads_back_as_its_machine() -> None:
    found = machine_of_report(_form(report_of(v100_pair())), "r.json")
    assert found.machine.counts == (("v100-sxm-32gb", 2),)
    host = found.machine.host
    assert (host.ram_bytes, host.os, host.cpu_name) == (64 * GIB, "linux", "AMD Ryzen 9 7950X 16-Core Processor")
    assert not found.machine.devices[0].is_recalled
    assert [note.code for note in found.notes] == ["hardware_file"]


def test_held_memory_is_a_warning_with_the_share_that_is_free() -> None:
    notes = machine_of_report(_form(report_of(MACHINES["b200"]())), "r.json").notes
    held = [note for note in notes if note.code == "reported_memory_held"]
    assert [note.parameters["gpu"] for note in held] == [0, 1]
    assert held[0].severity is Severity.WARNING and held[0].parameters["share"] == 0.12


def test_lost_gpus_are_left_out_and_mig_is_its_instances() -> None:
    found = machine_of_report(_form(report_of(MACHINES["lost"]())), "r.json")
    assert found.machine.counts == (("rtx-4090", 1),)
    assert [note.code for note in found.notes] == ["hardware_file", "reported_fault", "reported_fault"]
    mig = machine_of_report(_form(report_of(MACHINES["mig"]())), "r.json").machine
    assert [device.name[-7:] for device in mig.devices] == ["3g.40gb", "1g.10gb"]


def test_the_limit_of_a_container_and_two_sockets_are_the_hosts() -> None:
    ram = RamReading(total_bytes=64 * GIB, limit_bytes=16 * GIB)
    report = report_of(ram=ram, cpu=CpuReading(name="Intel Xeon Gold 6138", sockets=2))
    host = machine_of_report(_form(report), "r.json").machine.host
    assert (host.ram_bytes, host.cpu_name) == (16 * GIB, "2x Intel Xeon Gold 6138")


GOOD = _form(report_of(v100_pair()))


@pytest.mark.parametrize(
    ("change", "code"),
    [
        ({"kind": "other"}, "hardware_file_other"),
        ({"schema_version": 2}, "hardware_file_version"),
        ({"gpus": 3}, "hardware_file_wrong"),
        ({"gpus": ["x"]}, "hardware_file_wrong"),
        ({"gpus": [{}] * 1025}, "hardware_file_wrong"),
        ({"gpus": [{"index": 0, "memory_bytes": -1}]}, "hardware_file_wrong"),
        ({"gpus": [{"index": 0, "memory_bytes": True}]}, "hardware_file_wrong"),
        ({"gpus": [{"index": 0, "memory_bytes": 1 << 60}]}, "hardware_file_wrong"),
        ({"gpus": [{"index": 0, "memory_bytes": GIB, "vendor": "acme"}]}, "hardware_file_wrong"),
        ({"gpus": [{"index": 0, "memory_bytes": GIB, "compute_capability": "9"}]}, "hardware_file_wrong"),
        ({"gpus": [{"index": 0, "memory_bytes": GIB, "name": "a\x1b[31m"}]}, "hardware_file_wrong"),
        ({"system": {"os": "plan9"}}, "hardware_file_wrong"),
        ({"ram": []}, None),
        ({"cpu": "x"}, "hardware_file_wrong"),
    ],
)
def test_hostile_reports(change: dict[str, Any], code: str | None) -> None:
    if code is None:
        assert machine_of_report(GOOD | change, "r.json").machine.host.ram_bytes is None
        return
    with pytest.raises(InputError) as caught:
        machine_of_report(GOOD | change, "r.json")
    assert caught.value.problems[0].code == code


@pytest.fixture
def v100_file(tmp_path: Path) -> str:
    path = tmp_path / "machine.json"
    path.write_text(json.dumps(GOOD), encoding="utf-8")
    return str(path)


@pytest.mark.parametrize(
    "words",
    [
        ("plan", "Qwen/Qwen3-32B", "--engine", "llama.cpp"),
        ("estimate", "Qwen/Qwen3-8B", "--format", "Q4_K_M", "--engine", "llama.cpp", "--context", "8k"),
        ("fit", "--family", "qwen3", "--engine", "llama.cpp"),
        ("compare", "Qwen/Qwen3-8B format=Q4_K_M", "Qwen/Qwen3-8B gpu=rtx-3090", "--engine", "llama.cpp"),
        ("hardware", "Qwen/Qwen3-8B", "--engine", "llama.cpp"),
    ],
)
def test_a_report_stands_for_gpu(cli: Cli, v100_file: str, words: tuple[str, ...]) -> None:
    ran = cli(*words, "--hardware", v100_file, "--json")
    assert ran.code == 0, ran.out + ran.err
    assert "v100-sxm-32gb" in ran.out
    if words[0] == "plan":
        notes = [note["code"] for note in ran.json()["notes"]]
        assert "reported_machine" in notes and "this_machine" not in notes


def test_memory_of_a_request_reaches_every_variant(cli: Cli) -> None:
    common = ("--ram", "64GiB", "--engine", "llama.cpp", "--json")
    assert (
        cli("compare", "Qwen/Qwen3-8B format=Q4_K_M", "Qwen/Qwen3-8B format=Q8_0", "--gpu", "rtx-3090", *common).code
        == 0
    )
    assert cli("hardware", "Qwen/Qwen3-8B", "--gpu", "rtx-3090", *common).code == 0


def test_a_report_and_gpu_are_two_machines(cli: Cli, v100_file: str, tmp_path: Path) -> None:
    ran = cli("plan", "Qwen/Qwen3-8B", "--hardware", v100_file, "--gpu", "h100")
    assert ran.code == 2 and "two machines" in ran.err
    assert cli("plan", "Qwen/Qwen3-8B", "--hardware", str(tmp_path / "none.json")).code == 3
    (tmp_path / "text.json").write_text("not json")
    ran = cli("plan", "Qwen/Qwen3-8B", "--hardware", str(tmp_path / "text.json"), "--lang", "ko")
    assert ran.code == 2 and "보고서가 아닙니다" in ran.err
    (tmp_path / "cpu.json").write_text(json.dumps(_form(report_of())))
    ran = cli("hardware", "Qwen/Qwen3-8B", "--hardware", str(tmp_path / "cpu.json"))
    assert ran.code == 2 and "no GPU of the catalogue" in ran.err


def test_a_cpu_report_plans_for_its_processor(cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "cpu.json").write_text(json.dumps(_form(report_of())))
    ran = cli("plan", "Qwen/Qwen3-8B", "--hardware", str(tmp_path / "cpu.json"), "--engine", "llama.cpp", "--json")
    best = ran.json()["plans"][0]
    assert ran.code == 0 and best["speed"] is not None


@pytest.mark.parametrize("language", ["en", "ko"])
def test_probe_looks_and_writes(cli: Cli, tmp_path: Path, language: str) -> None:
    ran = cli("probe", "--quick", "--lang", language, "--out", str(tmp_path / "r.json"))
    assert ran.code == 0, ran.err
    form = json.loads((tmp_path / "r.json").read_text(encoding="utf-8"))
    assert form["kind"] == "fitserve_hardware" and form["rates"] == [] and form["ram"]["total_bytes"]
    assert machine_of_report(form, "r.json").machine.host.ram_bytes
    assert cli("probe", "--quick", "--out", str(tmp_path / "r.md")).code == 0
    assert (tmp_path / "r.md").read_text(encoding="utf-8").startswith("# ")


def test_probe_measures_the_host(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    for name in ("RAM_S", "MATRIX_S", "DISK_S"):
        monkeypatch.setattr(taking, name, 0.2)
    ran = cli("probe", "--rates", "host", "--json")
    rates = {rate["what"]: rate for rate in ran.json()["rates"]}
    assert ran.code == 0 and {"ram_read", "ram_copy"} <= set(rates)
    assert rates["ram_read"]["per_s"] > 1e8 and rates["ram_read"]["method"]
    assert not list(tmp_path.iterdir())


def test_a_machine_with_a_gpu_from_end_to_end(cli: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Reading, measuring (a device that holds its clocks), verdict, file, and the plan for it."""
    found = nvidia_found(read_nvml(v100_pair()))
    rates = (_rate("gpu_memory", 5e11, gpu=0), _rate("gpu_matrix", 100e12, gpu=0, dtype="fp16"))
    monkeypatch.setattr(taking, "nvidia_report", lambda: found)
    monkeypatch.setattr(taking, "gpu_rates", lambda gpus, seconds: (rates, {0: ("hardware_thermal",)}, ()))
    path = str(tmp_path / "machine.json")
    ran = cli("probe", "--rates", "gpu", "--out", path)
    assert ran.code == 0 and "56%" in ran.out and "likely heat" in ran.out and "2 NVLinks" in ran.out
    assert "v100-sxm-32gb" in cli("plan", "Qwen/Qwen3-8B", "--engine", "llama.cpp", "--hardware", path).out


def test_an_old_driver_a_mask_and_small_shared_memory_are_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    system = SystemReading(os="linux", cuda_version="11.4", docker="28.0", docker_answers=False, wsl=2)
    ram = RamReading(total_bytes=64 * GIB, limit_bytes=GIB, shared_bytes=64 << 20)
    cpu = CpuReading(threads=8, usable_cpus=1.5)
    report = report_of(
        v100_pair(), system=system, ram=ram, cpu=cpu, disk=DiskReading(kind="network", file_system="nfs4")
    )
    assert [item.code for item in taking._notes(report)] == [
        "ram_limited", "cpus_limited", "shared_memory_small", "driver_old", "devices_masked", "wsl", "docker_silent",
        "toolkit_missing", "disk_is_network",
    ]  # fmt: skip
    for language in ("en", "ko"):
        assert report_form(replace(report, notes=tuple(taking._notes(report))), (), texts(language))["notes"]


def test_probe_refuses_what_it_does_not_know(cli: Cli) -> None:
    assert cli("probe", "--rates", "some").code == 2
    assert cli("probe", "--quick", "--out", "report.xyz").code == 2


def test_the_stated_time(monkeypatch: pytest.MonkeyPatch) -> None:
    assert taking.seconds_at_most(True, True) <= 22
    assert taking.seconds_at_most(False, False) <= 3
