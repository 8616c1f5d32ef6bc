"""The system, what its devices can do, and how to see that they are what they should be."""

from fitserve.foundation.reasons import Reason
from fitserve.guides.types import DeviceProfile, EngineSupport, Guide
from fitserve.render.guide.words import NONE, Words, engine_name, format_name, machine_name, spoken
from fitserve.render.human import bytes_text
from fitserve.render.page.document import Block, Bullets, Cell, Code, Heading, Paragraph, Section, Table, cells

_STATES = {"runs": "fits", "stored": "tight", "no": "no", "unknown": "unknown"}
_OLDEST_OF_CUDA_13 = 75
_FP32_SHARE = 0.7
"""Of a device with units for 16 bit FP32 arithmetic reaches less than this share."""


def system_section(guide: Guide, words: Words) -> Section:
    """Devices, memory, rates, links, power."""
    rows: list[tuple[Cell, ...]] = []
    for profile in guide.profiles:
        rows += _device_rows(profile, words, len(guide.machine.devices), len(guide.profiles) > 1)
    machine = guide.machine
    if len(machine.devices) > 1:
        total = sum(device.memory_bytes for device in machine.devices)
        usable = sum(device.engine_visible_bytes for device in machine.devices)
        rows.append(cells(words("memory_total"), words("memory_of", memory_bytes=total, usable_bytes=usable)))
    ram = machine.host.ram_bytes
    if not any(device.is_unified for device in machine.devices):
        rows.append(cells("RAM", words("not_given") if ram is None else bytes_text(ram)))
    rows.append(cells(words("os"), {"linux": "Linux", "windows": "Windows", "macos": "macOS"}[machine.host.os]))
    blocks: list[Block] = [Table(headings=words.heads("item", "value"), rows=tuple(rows))]
    notes = [words.texts.reason(reason) for reason in guide.notes]
    if notes:
        blocks.append(Bullets(items=tuple(notes)))
    return Section(id="system", title=words("title_system"), blocks=tuple(blocks))


def _device_rows(profile: DeviceProfile, words: Words, count: int, is_mixed: bool) -> list[tuple[Cell, ...]]:
    device = profile.device
    prefix = f"{device.name.removeprefix('NVIDIA ').removeprefix('GeForce ')}: " if is_mixed else ""
    name = spoken(device.name, device.memory_bytes, device.is_unified)
    rows: list[tuple[Cell, ...]] = [
        (Cell(text=prefix + "GPU"), Cell(text=f"{profile.count} × {name}" if profile.count > 1 else name)),
        (
            Cell(text=prefix + words("memory")),
            Cell(
                text=words(
                    _memory_code(profile),
                    memory_bytes=device.memory_bytes,
                    usable_bytes=device.engine_visible_bytes,
                )
            ),
        ),
    ]
    if device.bandwidth_bytes_per_s:
        rows.append(cells(prefix + words("bandwidth"), f"{device.bandwidth_bytes_per_s / 1e9:,.0f} GB/s"))
    if device.compute_capability:
        rows.append(cells(prefix + words("capability"), device.compute_capability))
    elif device.gfx or device.metal_family:
        rows.append(cells(prefix + words("generation"), device.gfx or f"Apple {str(device.metal_family).upper()}"))
    if profile.link_bytes_per_s and count > 1:
        bridge = profile.bridge_bytes_per_s if profile.count > 1 else None
        named = {"link": link_name(profile.link_name), "rate": f"{profile.link_bytes_per_s / 1e9:,.0f}"}
        text = words("link_optional", named, bridge=f"{bridge / 1e9:,.0f}") if bridge else words("link_rate", named)
        rows.append(cells(prefix + words("link"), text))
    if profile.tdp_w:
        rows.append(cells(prefix + words("power"), f"{profile.tdp_w:,.0f} W"))
    return rows


def _memory_code(profile: DeviceProfile) -> str:
    if profile.device.is_unified:
        return "memory_unified"
    return "memory_each" if profile.count > 1 else "memory_of"


def link_name(kind: str | None) -> str:
    """`NVLink 2`, `PCIe 4.0 x16` of the catalogue's names."""
    if kind is None:
        return NONE
    if kind == "nvlink-bridge":
        return "NVLink"
    if kind.startswith("nvlink"):
        return f"NVLink {kind.removeprefix('nvlink')}".strip()
    if kind.startswith("pcie"):
        generation, _, lanes = kind.removeprefix("pcie").partition("-")
        return f"PCIe {generation}.0 {lanes}".strip()
    return kind


def abilities_section(guide: Guide, words: Words) -> Section:
    """Number formats of each device, then engines and weight formats."""
    blocks: list[Block] = []
    several = len(guide.profiles) > 1
    for profile in guide.profiles:
        if several:
            blocks.append(Heading(text=profile.device.name))
        blocks += [_ratings(profile, words), *_driver(profile, words), *_support(profile.support, words)]
    if not guide.profiles:
        blocks.append(Paragraph(text=words("cpu_abilities")))
        blocks += _support(guide.host_support, words)
    return Section(id="abilities", title=words("title_abilities"), blocks=tuple(blocks))


def _ratings(profile: DeviceProfile, words: Words) -> Table:
    rows = []
    for rating in profile.ratings:
        name = Cell(text=words(f"ability_{rating.name}"))
        if rating.state == "absent":
            state = Cell(text=words("absent"), verdict="no")
            why = words(f"absent_{rating.name}", have=rating.have or "?", need=rating.need or "?")
        else:
            state = Cell(
                text=words("present" if rating.state == "native" else "unknown_state"),
                verdict=_rating_mark(rating.state),
            )
            why = f"{rating.flop_per_s / 1e12:,.4g} TFLOPS" if rating.flop_per_s else words("rate_unknown")
            if rating.name in {"flash_attention_2", "cuda_13"}:
                why = words(f"present_{rating.name}")
        rows.append((name, state, Cell(text=why)))
    return Table(
        headings=words.heads("ability", "state", "detail"), rows=tuple(rows), caption=words("caption_abilities")
    )


def _rating_mark(state: str) -> str:
    return "fits" if state == "native" else "unknown"


def _driver(profile: DeviceProfile, words: Words) -> list[Block]:
    """The end of support in drivers, for devices that are past it."""
    capability = profile.device.capability_number
    if capability is None or capability >= _OLDEST_OF_CUDA_13:
        return []
    return [Paragraph(text=words("driver_580", have=profile.device.compute_capability or "?"))]


def _support(states: tuple[EngineSupport, ...], words: Words) -> list[Block]:
    """One table of engines that run, with the formats; a list of those that do not, with the reason."""
    running = [state for state in states if state.version is not None]
    rows = []
    for state in running:
        named = {kind: [format_name(f.format) for f in state.formats if f.state == kind] for kind in ("runs", "stored")}
        lag = words("newest_is", version=state.newest) if state.version != state.newest else ""
        rows.append(
            (
                Cell(text=engine_name(state.engine)),
                Cell(text=str(state.version), note=lag),
                Cell(text=_formats(named["runs"])),
                Cell(text=_formats(named["stored"])),
            )
        )
    blocks: list[Block] = [
        Table(
            headings=words.heads("engine", "version", "computes", "stores"),
            rows=tuple(rows),
            caption=words("caption_engines"),
        )
    ]
    if any(row[3].text != NONE for row in rows):
        blocks.append(Paragraph(text=words("stored_means"), is_note=True))
    refused = [
        f"**{engine_name(state.engine)} {state.newest}**: {reason_text(state.reason, words)}"
        for state in states
        if state.reason is not None
    ]
    if refused:
        blocks += [Paragraph(text=words("refused")), Bullets(items=tuple(refused))]
    return blocks


def _formats(names: list[str]) -> str:
    shown = [
        "GGUF" if name == "Q4_K_M" else name.partition(":")[0].upper() if name.startswith("exl") else name
        for name in names
    ]
    return ", ".join(shown) if shown else NONE


def reason_text(reason: Reason | None, words: Words) -> str:
    """A reason in words; a dash without one."""
    return NONE if reason is None else words.texts.reason(reason)


def checklist_section(guide: Guide, words: Words) -> Section:
    """Commands and what they should show."""
    blocks: list[Block] = []
    for number, check in enumerate(guide.checks, start=1):
        blocks.append(Heading(text=f"{number}. {words(f'{check.code}_title', dict(check.parameters))}"))
        blocks.append(Code(text=check.command, language="sh"))
        named = dict(check.parameters)
        if "link" in named:
            named["link"] = link_name(str(named["link"]))
        text = words(check.code, named)
        if check.code == "check_matmul" and float(str(named["fp32"])) < _FP32_SHARE * float(str(named["tflops"])):
            text += " " + words("check_matmul_fp32", named)
        blocks.append(Paragraph(text=text))
    return Section(id="checks", title=words("title_checks"), blocks=tuple(blocks))


def title_of(guide: Guide, words: Words) -> str:
    """What the guide is called."""
    return words("title", machine=machine_name(guide.machine))
