"""The use case of `finetune`: request -> memory, time, cost, what would fit, and how the result is served."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from fitserve.foundation.errors import FactMissing, InputError
from fitserve.foundation.facts import load_toml
from fitserve.foundation.intervals import Interval
from fitserve.foundation.reasons import Reason, Verdict, does_not_fit, not_supported, note, verdict_of, warning
from fitserve.hardware.identify import identify
from fitserve.hardware.types import Accelerator, Machine
from fitserve.models.formats import parse_format
from fitserve.models.types import LanguageModel
from fitserve.plan.finetune_request import FinetuneRequest
from fitserve.plan.machine import machine_of
from fitserve.plan.money import rate_of
from fitserve.plan.request import HardwareRequest
from fitserve.plan.world import ModelRead, World
from fitserve.predict.cost import HoursCost, cost_of_hours, hourly_price
from fitserve.predict.prices import Rate, packaged_prices, priced_gpus
from fitserve.training.adapters import target_roles
from fitserve.training.fits import (
    TrainerWays,
    TrainingFix,
    fits,
    gpus_needed,
    largest_micro_batch,
    largest_sequence,
    nearest_fixes,
    spread_out,
)
from fitserve.training.memory import frozen_bytes, is_moe, training_memory
from fitserve.training.serving import Serving, serving_of
from fitserve.training.time import training_time
from fitserve.training.types import FinetuneJob, TrainingMemory, TrainingTime

USUAL_HOURS = (Decimal(10), Decimal(50), Decimal(100))
_FP16_BELOW = 80  # compute capability 8.0 brought BF16
_SECONDS_PER_HOUR = 3600
_LEAST_ALTERNATIVE_BYTES = 20 * 10**9


@dataclass(frozen=True, slots=True, kw_only=True)
class FinetuneAnswer:
    """The answer. `hours`: of the whole training, when its tokens are known. Amounts are not rounded."""

    request: FinetuneRequest
    model: LanguageModel
    repository: str
    machine: Machine
    job: FinetuneJob
    memory: TrainingMemory
    usable_bytes: int
    reasons: tuple[Reason, ...]
    notes: tuple[Reason, ...]
    fixes: tuple[TrainingFix, ...]
    longest_sequence: int
    largest_batch: int
    enough: FinetuneJob | None
    """The run on the fewest of these GPUs that hold it."""
    time: TrainingTime | None
    steps: int | None
    hours: Interval | None
    usd_per_hour: Decimal | None
    price_kind: str
    rate: Rate
    rows: tuple[HoursCost, ...]
    total_usd: Interval | None
    serving: Serving

    @property
    def verdict(self) -> Verdict:
        """fits, does_not_fit, not_supported or unknown."""
        return verdict_of(self.reasons)


def trainer_row(name: str) -> Mapping[str, Any]:
    """Facts of a trainer."""
    row: Mapping[str, Any] = load_toml("fitserve.training", "facts.toml")["trainers"][name]
    return row


def finetune(request: FinetuneRequest, world: World) -> FinetuneAnswer:
    """The answer to a request. Raises InputError with what is wrong, FactMissing for a model kind that is not known."""
    read = world.read_model(request.model)
    hardware = HardwareRequest.read(
        gpu=request.gpu or None, hardware=request.hardware, ram=None if request.ram is None else f"{request.ram} B",
        os=request.os,
    )  # fmt: skip
    machine, notes = machine_of(hardware, world)
    rate = rate_of(request.currency, request.exchange_rate)
    if not machine.devices:
        raise InputError.of("finetune_without_gpu")
    device = min(machine.devices, key=lambda item: item.engine_visible_bytes)
    found = [*read.notes, *notes]
    job = _job(request, read, machine, device, found)
    reasons = _reasons(request, read, job, machine, device)
    memory = training_memory(job)
    ways = _ways(request, job)
    usable = device.engine_visible_bytes
    is_bad = verdict_of(reasons) is Verdict.DOES_NOT_FIT
    time = _time(job, device, found)
    steps, hours = _length(request, job, time)
    usd, kind = _price(request, machine, found)
    return FinetuneAnswer(
        request=request, model=read.model, repository=read.repository or read.model.id, machine=machine, job=job,
        memory=memory, usable_bytes=usable, reasons=reasons, notes=tuple(found),
        fixes=nearest_fixes(job, device, machine.host.ram_bytes, ways, _alternatives()) if is_bad else (),
        longest_sequence=largest_sequence(job, usable), largest_batch=largest_micro_batch(job, usable),
        enough=gpus_needed(job, usable, ways.shardings), time=time, steps=steps, hours=hours, usd_per_hour=usd,
        price_kind=kind, rate=rate,
        rows=() if usd is None else tuple(cost_of_hours(usd, item, rate) for item in request.hours or USUAL_HOURS),
        total_usd=None if usd is None or hours is None else _times(hours, float(usd)),
        serving=serving_of(job, machine, request.rank),
    )  # fmt: skip


def _times(value: Interval, factor: float) -> Interval:
    return Interval(value.low * factor, value.likely * factor, value.high * factor)


def with_trainer(job: FinetuneJob, name: str, loss: str) -> FinetuneJob:
    """The job as a trainer runs it."""
    row = trainer_row(name)
    return replace(
        job, stack=str(row["stack"]), loss=str(row["loss"]) if loss == "auto" else loss,
        kbit_rest_bytes=int(row["kbit_rest"]), double_quant=bool(row["double_quant"]),
        experts_in_4bit=bool(row["experts_in_4bit"]),
    )  # fmt: skip


def _job(
    request: FinetuneRequest, read: ModelRead, machine: Machine, device: Accelerator, notes: list[Reason]
) -> FinetuneJob:
    model = read.model
    roles = target_roles(model, request.target) if request.method != "full" else ()
    if request.method != "full" and not roles:
        raise InputError.of("no_such_targets", given=", ".join(request.target), model=model.id)
    if request.sequence > model.max_context_tokens:
        raise InputError.of(
            "context_beyond_model",
            context_tokens=request.sequence,
            limit_tokens=model.max_context_tokens,
            model=model.id,
        )
    count, shardings = len(machine.devices), tuple(trainer_row(request.trainer)["sharding"])
    if count > 1 and not shardings:
        notes.append(note("trainer_uses_one_gpu", trainer=request.trainer, count=count))
        count = 1
    job = FinetuneJob(
        model=model, method=request.method, stack="hf", sequence_tokens=request.sequence,
        weight_format=parse_format("bnb-4bit" if request.method == "qlora" else "bf16"),
        micro_batch=request.micro_batch, accumulation=request.accumulation, rank=request.rank, targets=roles,
        trains_embeddings=request.train_embeddings, optimizer=request.optimizer,
        precision=_precision(request, device, notes), checkpointing=request.checkpointing == "on",
        attention=request.attention, gpu_count=count, offload=request.offload,
        sharding=request.sharding if request.sharding != "auto" else "none",
    )  # fmt: skip
    job = with_trainer(job, request.trainer, request.loss)
    if request.sharding != "auto":
        if request.sharding != "none" and request.sharding not in shardings and count > 1:
            raise InputError.of("trainer_cannot_shard", trainer=request.trainer, given=request.sharding)
        return job
    spread = spread_out(job, count, shardings)
    return next((item for item in spread if fits(item, device.engine_visible_bytes)), spread[-1])


def _precision(request: FinetuneRequest, device: Accelerator, notes: list[Reason]) -> str:
    if request.precision != "auto":
        return request.precision
    capability = device.capability_number
    if capability is not None and capability < _FP16_BELOW:
        notes.append(note("trains_in_fp16", gpu=device.id, capability=device.compute_capability))
        return "fp16"
    return "bf16"


def _reasons(
    request: FinetuneRequest, read: ModelRead, job: FinetuneJob, machine: Machine, device: Accelerator
) -> tuple[Reason, ...]:
    model, memory = job.model, training_memory(job)
    found: list[Reason] = []
    checkpoint = model.checkpoint
    if checkpoint is not None and (checkpoint.weight_format.startswith("gguf") or model.base_id is not None):
        base = model.base_id or "-"
        found.append(not_supported("trains_the_original", model=model.id, format=checkpoint.weight_format, base=base))
    if device.vendor not in {"nvidia", "amd"} and job.method == "qlora":
        found.append(not_supported("bitsandbytes_needs_gpu", gpu=device.id, vendor=device.vendor))
    elif device.vendor != "nvidia":
        found.append(warning("training_not_measured_on", gpu=device.id))
    usable, total = device.engine_visible_bytes, memory.total_bytes
    if total.likely > usable:
        found.append(
            does_not_fit(
                "training_exceeds_memory", total_bytes=round(total.likely), usable_bytes=usable, gpu=device.id,
                weights_bytes=_item(memory, "weights"), count=job.gpu_count,
            )
        )  # fmt: skip
    elif total.high > usable:
        found.append(warning("training_is_tight", high_bytes=round(total.high), usable_bytes=usable))
    ram = machine.host.ram_bytes
    if memory.host_bytes and ram is not None and memory.host_bytes > ram:
        found.append(does_not_fit("offload_exceeds_ram", need_bytes=memory.host_bytes, have_bytes=ram))
    return (*found, *_remarks(request, job))


def _item(memory: TrainingMemory, code: str) -> int:
    return sum(item.bytes for item in memory.items if item.code == code)


def _remarks(request: FinetuneRequest, job: FinetuneJob) -> list[Reason]:
    model, found = job.model, []
    experts = sum(g.elements for g in model.tensors if "_exps" in g.role)
    if is_moe(model) and job.method != "full" and not any("_exps" in role for role in job.targets):
        found.append(note("experts_stay_frozen", experts=experts, share=round(100 * experts / max(1, model.params()))))
    if is_moe(model) and job.method == "qlora" and not job.experts_in_4bit:
        found.append(warning("experts_stay_16bit", trainer=request.trainer, need_bytes=experts * 2))
    if job.method != "full" and model.params("vision"):
        found.append(note("vision_stays_frozen", part_bytes=model.params("vision") * 2))
    if model.checkpoint is not None and model.base_id is None:
        found.append(note("trained_in_16bit", format=model.checkpoint.weight_format))
    return found


def _ways(request: FinetuneRequest, job: FinetuneJob) -> TrainerWays:
    others = []
    for name in ("axolotl", "unsloth"):
        row = trainer_row(name)
        if name != request.trainer and (row["sharding"] or job.gpu_count == 1):
            others.append((name, with_trainer(job, name, request.loss), tuple(row["sharding"])))
    return TrainerWays(shardings=tuple(trainer_row(request.trainer)["sharding"]), others=tuple(others))


def _alternatives() -> tuple[Accelerator, ...]:
    """GPUs that can be rented at a known price and are large enough to train on."""
    found = (identify(name).device for name in priced_gpus())
    return tuple(
        item
        for item in found
        if item.vendor == "nvidia" and not item.is_unified and item.memory_bytes > _LEAST_ALTERNATIVE_BYTES
    )


def _time(job: FinetuneJob, device: Accelerator, notes: list[Reason]) -> TrainingTime | None:
    try:
        return training_time(job, device.id)
    except (FactMissing, KeyError):
        notes.append(note("training_time_unknown", gpu=device.id))
        return None


def _length(
    request: FinetuneRequest, job: FinetuneJob, time: TrainingTime | None
) -> tuple[int | None, Interval | None]:
    """(optimizer steps, hours) of all epochs; None without the number of tokens."""
    if request.tokens is None:
        return None, None
    tokens = request.tokens * request.epochs
    steps = max(1, -(-round(tokens) // job.step_tokens))
    if time is None:
        return steps, None
    return steps, _times(time.step_s, steps / _SECONDS_PER_HOUR)


def _price(request: FinetuneRequest, machine: Machine, notes: list[Reason]) -> tuple[Decimal | None, str]:
    if request.usd_per_hour is not None:
        return request.usd_per_hour, "given"
    found = hourly_price(machine.counts, packaged_prices())
    if found is None:
        return None, "unknown"
    median = found.median
    notes.append(
        note(
            "training_price_of_offer", provider=median.provider, date=median.price_date or "?", count=len(found.quotes)
        )
    )
    return median.usd_per_hour, "offers"


def disk_bytes(job: FinetuneJob) -> int:
    """Disk that the run takes: the 16-bit weights to start from and the results of three checkpoints."""
    plain = frozen_bytes(replace(job, method="lora", weight_format=parse_format("bf16")))
    memory = training_memory(job)
    saved = plain * 3 if job.method == "full" else memory.trained_params * 2 * 3
    return plain + saved
