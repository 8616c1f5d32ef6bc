"""What would fit: the longest sequence, the largest micro batch, the fewest GPUs, the nearest changes; each one computed."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from fitserve.hardware.types import Accelerator
from fitserve.models.formats import parse_format
from fitserve.training.memory import training_memory
from fitserve.training.types import FinetuneJob, TrainingMemory

_STEP_TOKENS = 256
_MOST_BATCH = 1024
_COUNTS = (1, 2, 3, 4, 6, 8, 10, 12, 16, 32, 64, 128)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingFix:
    """A change of flags that makes a run fit. `gpu` is set where it asks for other GPUs."""

    change: tuple[tuple[str, str], ...]
    job: FinetuneJob
    memory: TrainingMemory
    gpu: str | None = None


def fits(job: FinetuneJob, usable_bytes: int, ram_bytes: int | None = None) -> bool:
    """Whether the likely memory is there, on the GPU and, where parts are offloaded, in RAM."""
    memory = training_memory(job)
    if ram_bytes is not None and memory.host_bytes > ram_bytes:
        return False
    return memory.total_bytes.likely <= usable_bytes


def _largest(most: int, is_good: Callable[[int], bool]) -> int:
    """The largest number from 1 to `most` that is good, 0 when none is; goodness ends once."""
    low, high = 0, most
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if is_good(middle) else (low, middle - 1)
    return low


def largest_sequence(job: FinetuneJob, usable_bytes: int) -> int:
    """The longest sequence that fits with everything else as it is, in steps of 256 tokens; 0 when none does."""
    most = job.model.max_context_tokens // _STEP_TOKENS
    return _STEP_TOKENS * _largest(most, lambda n: fits(replace(job, sequence_tokens=n * _STEP_TOKENS), usable_bytes))


def largest_micro_batch(job: FinetuneJob, usable_bytes: int) -> int:
    """The largest micro batch that fits; 0 when not even one sequence does."""
    return _largest(_MOST_BATCH, lambda n: fits(replace(job, micro_batch=n), usable_bytes))


def spread_out(job: FinetuneJob, count: int, shardings: Sequence[str]) -> list[FinetuneJob]:
    """The job on so many GPUs: a copy each, then ever more of it shared out."""
    if count == 1:
        return [replace(job, gpu_count=1, sharding="none")]
    ways = ["none", *(name for name in ("zero-2", "fsdp", "zero-3") if name in shardings)] if shardings else []
    return [replace(job, gpu_count=count, sharding=name) for name in ways]


def gpus_needed(job: FinetuneJob, usable_bytes: int, shardings: Sequence[str]) -> FinetuneJob | None:
    """The job on the fewest GPUs of a kind that hold it; None when 128 do not."""
    for count in _COUNTS:
        for candidate in spread_out(job, count, shardings):
            if fits(candidate, usable_bytes):
                return candidate
    return None


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainerWays:
    """What a trainer can do, for the fixes: its ways to share out, and what another trainer changes in a job."""

    shardings: tuple[str, ...]
    others: tuple[tuple[str, FinetuneJob, tuple[str, ...]], ...] = ()
    """(name, the same job with it, its ways to share out)."""


Change = tuple[tuple[tuple[str, str], ...], FinetuneJob]


def _changes(job: FinetuneJob, ways: TrainerWays) -> Iterator[Change]:
    """Every single change, and the usual ones together, the smallest first."""
    if job.micro_batch > 1:
        yield (("micro_batch", "1"),), replace(job, micro_batch=1)
    if not job.checkpointing:
        yield (("checkpointing", "on"),), replace(job, checkpointing=True)
    if job.attention == "eager":
        yield (("attention", "flash"),), replace(job, attention="flash")
    for name, other, _ in ways.others:
        yield (("trainer", name),), other
    if job.optimizer in {"adamw", "paged-adamw", "muon", "lion"}:
        yield (("optimizer", "adamw-8bit"),), replace(job, optimizer="adamw-8bit")
        yield (("optimizer", "paged-adamw-8bit"),), replace(job, optimizer="paged-adamw-8bit")
    if job.method == "full":
        yield (("method", "lora"),), replace(job, method="lora")
    if job.method != "qlora":
        yield (("method", "qlora"),), as_qlora(job)
        for name, other, _ in ways.others:
            yield (("method", "qlora"), ("trainer", name)), as_qlora(other)
    if job.sharding != "none" or job.method == "full":
        yield (("offload", "optimizer"),), replace(job, offload="optimizer")
    if ways.shardings:
        yield (("offload", "all"),), replace(job, offload="all")


def as_qlora(job: FinetuneJob) -> FinetuneJob:
    """The same run with the frozen weights in NF4."""
    return replace(job, method="qlora", weight_format=parse_format("bnb-4bit"))


def nearest_fixes(
    job: FinetuneJob, device: Accelerator, ram_bytes: int | None, ways: TrainerWays, other_gpus: Sequence[Accelerator]
) -> tuple[TrainingFix, ...]:
    """Changes that make the run fit, the nearest along each knob."""
    usable = device.engine_visible_bytes
    found: list[TrainingFix] = []
    for change, changed in _changes(job, ways):
        seen = [dict(fix.change) for fix in found]
        if any(item.items() <= dict(change).items() for item in seen):
            continue
        best = next((c for c in _spreads(changed, job, ways, change) if fits(c, usable, ram_bytes)), None)
        if best is not None:
            found.append(TrainingFix(change=change, job=best, memory=training_memory(best)))
    length = largest_sequence(job, usable)
    if 0 < length < job.sequence_tokens:
        shorter = replace(job, sequence_tokens=length)
        found.insert(0, TrainingFix(change=(("sequence", str(length)),), job=shorter, memory=training_memory(shorter)))
    return (*found, *_more_gpus(job, device, ways), *_other_gpus(job, ways, other_gpus, device))


def _spreads(changed: FinetuneJob, job: FinetuneJob, ways: TrainerWays, change: object) -> list[FinetuneJob]:
    """A changed job as it is, and shared out as its trainer can."""
    shardings = ways.shardings
    assert isinstance(change, tuple)
    for name, _, theirs in ways.others:
        if ("trainer", name) in change:
            shardings = theirs
    return [*spread_out(changed, job.gpu_count, shardings), changed] if job.gpu_count > 1 else [changed]


def _more_gpus(job: FinetuneJob, device: Accelerator, ways: TrainerWays) -> list[TrainingFix]:
    most = gpus_needed(replace(job, offload="none"), device.engine_visible_bytes, ways.shardings)
    if most is None or most.gpu_count <= job.gpu_count:
        return []
    change = (("gpu", f"{device.id}:{most.gpu_count}"),)
    return [TrainingFix(change=change, job=most, memory=training_memory(most), gpu=device.id)]


def _other_gpus(
    job: FinetuneJob, ways: TrainerWays, others: Sequence[Accelerator], device: Accelerator
) -> list[TrainingFix]:
    """The two other kinds of GPU on which the fewest bytes of memory in all suffice."""
    found = []
    for other in others:
        enough = gpus_needed(replace(job, offload="none"), other.engine_visible_bytes, ways.shardings)
        if other.id != device.id and enough is not None and enough.gpu_count <= 16:
            change = (("gpu", f"{other.id}:{enough.gpu_count}"),)
            found.append(TrainingFix(change=change, job=enough, memory=training_memory(enough), gpu=other.id))
    size = {other.id: other.memory_bytes for other in others}
    found.sort(key=lambda fix: (size[fix.gpu or ""] * fix.job.gpu_count, fix.job.gpu_count))
    return found[:2]
