"""Words that all sections of a guide share."""

from collections.abc import Mapping
from typing import Any

from fitserve.foundation.intervals import Interval
from fitserve.foundation.reasons import Verdict
from fitserve.hardware.types import Machine
from fitserve.render.human import bytes_text, count_text
from fitserve.render.page.document import Cell
from fitserve.render.speed_text import rate_text
from fitserve.render.texts import Texts, value_text
from fitserve.search.evaluate import Evaluated

NONE = "–"
_MARKS = {
    Verdict.FITS: "fits", Verdict.DOES_NOT_FIT: "no", Verdict.NOT_SUPPORTED: "unsup", Verdict.UNKNOWN: "unknown",
}  # fmt: skip


class Words:
    """Texts of the table `guide`."""

    def __init__(self, texts: Texts) -> None:
        self.texts = texts

    def __call__(self, code: str, parameters: Mapping[str, Any] | None = None, **more: Any) -> str:
        """The text of a code."""
        return self.texts.text("guide", code, {**(parameters or {}), **more})

    def heads(self, *names: str) -> tuple[str, ...]:
        """Headings; `>` stays before those of figures."""
        return tuple(">" * name.startswith(">") + self(f"head_{name.removeprefix('>')}") for name in names)

    def verdict(self, item: Evaluated) -> Cell:
        """The verdict of a candidate; one that fits with hardly any room left is called tight."""
        if item.fits and item.has("tight"):
            return Cell(text=self("tight"), verdict="tight")
        return Cell(text=self.texts.text("verdict", str(item.verdict)), verdict=_MARKS[item.verdict])


def engine_name(engine_id: str) -> str:
    """The name that an engine gives itself."""
    return value_text("engine", engine_id)


def model_name(model_id: str) -> str:
    """The name without its publisher."""
    return model_id.rpartition("/")[2]


def format_name(name: str) -> str:
    """`Q4_K_M` of `gguf:Q4_K_M`; other formats as they are."""
    return name.removeprefix("gguf:")


def machine_name(machine: Machine) -> str:
    """`2 × Tesla V100-SXM2-32GB`, devices of one kind counted; RAM where there is no GPU."""
    kinds = {device.id: device for device in machine.devices}
    names = [
        (f"{count} × " if count > 1 else "") + spoken(kinds[gpu].name, kinds[gpu].memory_bytes, kinds[gpu].is_unified)
        for gpu, count in machine.counts
    ]
    if names:
        return " + ".join(names)
    return f"CPU, RAM {bytes_text(machine.host.ram_bytes or 0)}"


def spoken(name: str, memory: int, is_unified: bool) -> str:
    """A driver's name with the memory where the name does not say it."""
    size = f"{round(memory / 2**30)}"
    if f"{size}GB" in name.replace(" ", ""):
        return name
    return f"{name} {size} {'GiB' if is_unified else 'GB'}"


def gb_text(size: float | None) -> str:
    """`42.5`: decimal gigabytes of a file; the unit stands in the heading."""
    return NONE if size is None else f"{size / 1e9:,.1f}"


def gib_text(size: float) -> str:
    """`10.0`: GiB; the unit stands in the heading."""
    return f"{size / 2**30:,.1f}"


def range_text(interval: Interval) -> str:
    """`7.6–21`."""
    return f"{rate_text(interval.low)}–{rate_text(interval.high)}"


def rate_cell(item: Evaluated) -> Cell:
    """Tokens a second of one user with its interval."""
    if item.speed is None:
        return Cell(text=NONE)
    rate = item.speed.per_user_tok_per_s
    return Cell(text=rate_text(rate.likely), note=range_text(rate))


def tokens_text(value: int | None) -> str:
    """`71,936`."""
    return NONE if value is None else count_text(value)


def split_text(item: Evaluated, words: Words) -> str:
    """On what a plan runs: one device, several by layers, or several by tensors."""
    deployment = item.deployment
    if not deployment.machine.devices:
        return "CPU"
    if deployment.device_count <= 1:
        return words("on_one")
    return words("by_tensors" if deployment.tp > 1 else "by_layers", count=deployment.device_count)
