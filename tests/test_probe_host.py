"""The machine around the GPUs: processor, memory modules, limits of containers, disks, sysfs GPUs, and their rates."""

import ctypes
from pathlib import Path

import psutil
import pytest

from fitserve.foundation.units import GIB, KIB, MIB
from fitserve.hardware.probe import bounded, rates_disk
from fitserve.hardware.probe.cgroups import cpu_limit, memory_limits
from fitserve.hardware.probe.cpu import cpu_report, linux_cpu
from fitserve.hardware.probe.disk import block_kind, disk_report
from fitserve.hardware.probe.ram import dmi_modules, lowest_limit, ram_report, windows_modules, with_modules
from fitserve.hardware.probe.rates_disk import disk_rate
from fitserve.hardware.probe.rates_ram import cpu_matrix_rate, ram_rates
from fitserve.hardware.probe.sysfs_gpus import amd_report, intel_report
from fitserve.hardware.probe.system import container_kind, system_report, wsl_version
from fitserve.hardware.report import DiskReading, RamReading


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


CPU = """processor\t: {number}
model name\t: Intel(R) Xeon(R) Gold 6138 CPU @ 2.00GHz
physical id\t: {socket}
core id\t\t: {core}
flags\t\t: fpu avx2 fma f16c avx512f avx512_vnni amx_int8
"""


def test_two_sockets_of_linux(tmp_path: Path) -> None:
    blocks = [CPU.format(number=n, socket=n // 4, core=n % 4 // 2) for n in range(8)]
    _write(tmp_path / "cpuinfo", "\n".join(blocks))
    for cpu in range(8):
        cache = tmp_path / "system" / "cpu" / f"cpu{cpu}" / "cache"
        for index, (level, kind, size, shared) in enumerate(
            [
                ("1", "Data", "32K", f"{cpu // 2}"),
                ("1", "Instruction", "32K", f"{cpu // 2}"),
                ("3", "Unified", "27M", f"{cpu // 4}"),
            ]
        ):
            for name, text in (("level", level), ("type", kind), ("size", size), ("shared_cpu_list", shared)):
                _write(cache / f"index{index}" / name, text + "\n")
    (tmp_path / "system" / "node" / "node0").mkdir(parents=True)
    (tmp_path / "system" / "node" / "node1").mkdir()
    found = linux_cpu(tmp_path / "cpuinfo", tmp_path / "system")
    assert (found.sockets, found.cores, found.threads, found.numa_nodes) == (2, 4, 8, 2)
    assert found.isa == ("AVX2", "FMA", "F16C", "AVX-512", "VNNI", "AMX")
    assert (found.l1d_bytes, found.l3_bytes) == (4 * 32 * KIB, 2 * 27 * MIB)


def test_arm_has_features_and_may_have_no_name(tmp_path: Path) -> None:
    _write(tmp_path / "cpuinfo", "processor\t: 0\nFeatures\t: fp asimd asimddp i8mm bf16 sve\nCPU part\t: 0xd4f\n")
    found = linux_cpu(tmp_path / "cpuinfo", tmp_path / "none")
    assert found.isa == ("BF16", "NEON", "DOTPROD", "I8MM", "SVE") or found.isa == (
        "NEON",
        "DOTPROD",
        "I8MM",
        "BF16",
        "SVE",
    )
    assert (found.sockets, found.l3_bytes, found.numa_nodes) == (None, None, None)


def test_this_processor_has_cores() -> None:
    found = cpu_report()
    assert found.threads and found.usable_cpus and 0 < found.usable_cpus <= found.threads


DMI = """Handle 0x0011, DMI type 17, 92 bytes
Memory Device
\tData Width: 64 bits
\tSize: {size}
\tLocator: {slot}
\tBank Locator: {bank}
\tType: DDR5
\tSpeed: 5600 MT/s
\tSerial Number: 12345678
\tConfigured Memory Speed: {speed}
"""


def _dmi(*modules: tuple[str, str, str, str]) -> str:
    return "\n".join(DMI.format(size=s, slot=slot, bank=bank, speed=speed) for s, slot, bank, speed in modules)


def test_modules_of_two_channels() -> None:
    text = _dmi(
        ("32 GB", "DIMM_A2", "P0 CHANNEL A", "5200 MT/s"),
        ("No Module Installed", "DIMM_A1", "P0 CHANNEL A", "Unknown"),
        ("32 GB", "DIMM_B2", "P0 CHANNEL B", "4800 MT/s"),
    )
    found = with_modules(RamReading(), dmi_modules(text))
    assert (found.modules, found.channels, found.kind, found.mt_per_s) == (2, 2, "DDR5", 4800)
    assert found.peak_bytes_per_s == 2 * 8 * 4800e6


@pytest.mark.parametrize(
    ("slots", "channels"),
    [
        ((("DIMM_A1", "BANK 0"), ("DIMM_A2", "BANK 1")), 1),
        ((("Controller0-ChannelA-DIMM0", "BANK 0"), ("Controller1-ChannelA-DIMM0", "BANK 0")), 2),
        ((("CPU1_DIMM_A1", "NODE 0"), ("CPU2_DIMM_A1", "NODE 1")), 2),
        ((("ChannelA-DIMM0", "BANK 0"), ("ChannelB-DIMM0", "BANK 2")), 2),
        ((("Slot 1", "Bank 1"), ("Slot 2", "Bank 2")), None),
    ],
)
def test_channels_by_the_names_of_slots(slots: tuple[tuple[str, str], ...], channels: int | None) -> None:
    text = _dmi(*(("16 GB", slot, bank, "4800 MT/s") for slot, bank in slots))
    found = with_modules(RamReading(), dmi_modules(text))
    assert found.channels == channels
    assert (found.peak_bytes_per_s is None) == (channels is None)


def test_modules_of_windows() -> None:
    one = '{"Capacity":17179869184,"ConfiguredClockSpeed":3200,"DataWidth":64,"DeviceLocator":"DIMM_A2","BankLocator":"BANK 1"}'
    found = with_modules(RamReading(), windows_modules(one))
    assert (found.modules, found.channels, found.mt_per_s, found.peak_bytes_per_s) == (1, 1, 3200, 25.6e9)
    assert windows_modules("") == windows_modules('"text"') == ()


def test_this_memory() -> None:
    found = ram_report()
    assert found.total_bytes == psutil.virtual_memory().total
    assert found.available_bytes is not None and 0 < found.available_bytes <= (found.total_bytes or 0)


def test_limits_of_all_groups_above_count(tmp_path: Path) -> None:
    root, member = tmp_path / "cgroup", tmp_path / "member"
    _write(member, "0::/user.slice/session\n")
    _write(root / "user.slice" / "memory.max", f"{8 * GIB}\n")
    _write(root / "user.slice" / "session" / "memory.max", "max\n")
    _write(root / "user.slice" / "cpu.max", "150000 100000\n")
    _write(root / "user.slice" / "session" / "cpu.max", "max 100000\n")
    assert lowest_limit(memory_limits(root, member)) == 8 * GIB
    assert cpu_limit(root, member) == 1.5


def test_limits_of_version_1(tmp_path: Path) -> None:
    root, member = tmp_path / "cgroup", tmp_path / "member"
    _write(member, "5:memory:/docker/abc\n4:cpu,cpuacct:/docker/abc\n")
    _write(root / "memory" / "docker" / "abc" / "memory.limit_in_bytes", f"{2 * GIB}\n")
    _write(root / "cpu" / "docker" / "abc" / "cpu.cfs_quota_us", "-1\n")
    assert lowest_limit(memory_limits(root, member)) == 2 * GIB
    assert cpu_limit(root, member) is None
    assert cpu_limit(tmp_path / "none", tmp_path / "none") is None


def test_kinds_of_disks(tmp_path: Path) -> None:
    for name, turning in (("sda", "1"), ("sdb", "0"), ("nvme0n1", "0"), ("vda", "1")):
        _write(tmp_path / name / "queue" / "rotational", turning)
        (tmp_path / name / f"{name}1").mkdir()
    kinds = {name: block_kind(tmp_path / name / f"{name}1") for name in ("sda", "sdb", "nvme0n1", "vda")}
    assert kinds == {"sda": "hdd", "sdb": "ssd", "nvme0n1": "nvme", "vda": "virtual"}
    mapped = tmp_path / "dm-0" / "slaves"
    mapped.mkdir(parents=True)
    (mapped / "sda1").symlink_to(tmp_path / "sda" / "sda1")
    (mapped / "nvme0n1").symlink_to(tmp_path / "nvme0n1")
    assert block_kind(tmp_path / "dm-0") == "hdd"
    assert block_kind(tmp_path / "none") == "unknown"


def test_this_disk(tmp_path: Path) -> None:
    found = disk_report(tmp_path)
    assert found.free_bytes and found.total_bytes and found.free_bytes <= found.total_bytes and found.file_system


def _card(root: Path, name: str, **files: str) -> Path:
    for file, text in files.items():
        _write(root / name / "device" / file, text + "\n")
    return root / name / "device"


def test_an_amd_card_by_its_files(tmp_path: Path) -> None:
    folder = _card(
        tmp_path, "card1", vendor="0x1002", device="0x744c", mem_info_vram_total=str(24 * GIB), mem_info_vram_used=str(GIB),
        product_name="Radeon RX 7900 XTX", current_link_speed="16.0 GT/s PCIe", current_link_width="16",
        max_link_speed="16.0 GT/s PCIe", max_link_width="16",
    )  # fmt: skip
    _write(folder / "hwmon" / "hwmon3" / "power1_cap", "300000000")
    _write(folder / "hwmon" / "hwmon3" / "temp1_input", "51000")
    _write(tmp_path / "kfd" / "0" / "properties", "device_id 0\ngfx_target_version 0\n")
    _write(tmp_path / "kfd" / "1" / "properties", f"device_id {0x744C}\ngfx_target_version 110000\n")
    (found,) = amd_report(tmp_path, tmp_path / "kfd")
    assert (found.catalogue_id, found.gfx, found.free_bytes) == ("rx-7900-xtx", "gfx1100", 23 * GIB)
    assert found.pcie is not None and (found.pcie.generation_now, found.pcie.width_now) == (4, 16)
    assert (found.power_limit_w, found.temperature_c) == (300.0, 51)


def test_an_intel_card_by_its_pci_id(tmp_path: Path) -> None:
    _card(tmp_path, "card0", vendor="0x8086", device="0xe20b")
    _card(tmp_path, "card1", vendor="0x8086", device="0x46a6")  # in the processor
    (found,) = intel_report(tmp_path)
    assert (found.catalogue_id, found.memory_bytes, found.memory_is_read) == ("arc-b580", 12 * GIB, False)


def test_containers_and_wsl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    assert container_kind(tmp_path) is None
    _write(tmp_path / "proc" / "1" / "cgroup", "12:pids:/kubepods/pod1\n")
    assert container_kind(tmp_path) == "kubernetes"
    _write(tmp_path / ".dockerenv", "")
    assert container_kind(tmp_path) == "docker"
    assert [wsl_version(k) for k in ("5.15.90.1-microsoft-standard-WSL2", "4.4.0-19041-Microsoft", "6.1.0")] == [
        2,
        1,
        None,
    ]


def test_the_kernels_own_name_stays_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("platform.release", lambda: "6.8.12-kims-desktop")
    assert system_report().kernel == "6.8.12"


def test_ram_is_measured_in_both_ways() -> None:
    rates = ram_rates(2, 4 * MIB, GIB, seconds=0.2)
    assert [rate.what for rate in rates] == ["ram_read", "ram_copy"]
    assert all(1e8 < rate.per_s < 2e12 for rate in rates)


def test_the_reading_reads_every_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    """The search runs over the whole block: it finds a byte that is put at the end, and none without it."""
    from fitserve.hardware.probe import rates_ram

    block = (ctypes.c_char * 4096)(*([0x55] * 4096))
    scan = rates_ram._memchr()
    assert scan(ctypes.addressof(block), rates_ram._ABSENT_BYTE, 4096) is None
    block[4095] = rates_ram._ABSENT_BYTE
    assert scan(ctypes.addressof(block), rates_ram._ABSENT_BYTE, 4096) == ctypes.addressof(block) + 4095


def test_short_memory_is_left_alone() -> None:
    assert ram_rates(2, 32 * MIB, 64 * MIB, seconds=0.1) == ()


def test_a_matrix_rate_with_numpy() -> None:
    pytest.importorskip("numpy")
    rate = cpu_matrix_rate(0.1)
    assert rate is not None and 1e8 < rate.per_s < 1e15


def test_a_disk_is_read_and_left_clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates_disk, "_MOST_BYTES", 64 << 20)
    rate, notes = disk_rate(tmp_path, DiskReading(free_bytes=100 * GIB), seconds=1)
    assert rate is not None and rate.per_s > 1e6 and not notes
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("disk", "code"),
    [
        (DiskReading(kind="memory"), "disk_in_memory"),
        (DiskReading(free_bytes=GIB // 2), "disk_short"),
        (DiskReading(), "disk_short"),
    ],
)
def test_a_disk_that_is_not_measured(disk: DiskReading, code: str, tmp_path: Path) -> None:
    rate, notes = disk_rate(tmp_path, disk, seconds=1)
    assert rate is None and [note.code for note in notes] == [code]


def test_a_full_disk_is_a_note_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.write", full)
    rate, notes = disk_rate(tmp_path, DiskReading(free_bytes=100 * GIB), seconds=1)
    assert rate is None and [(n.code, n.parameters["detail"]) for n in notes] == [
        ("disk_failed", "No space left on device")
    ]
    assert not list(tmp_path.iterdir())


def test_a_folder_that_may_not_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(**_: object) -> tuple[int, str]:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("tempfile.mkstemp", refuse)
    assert [n.code for n in disk_rate(tmp_path, DiskReading(free_bytes=100 * GIB), seconds=1)[1]] == ["disk_read_only"]


def test_a_program_that_is_not_there_says_nothing() -> None:
    assert bounded.run_bounded(["/nowhere/program"], 1) is None
    assert bounded.printed("no-such-program-here") is None
