"""Fine-tuning questions that name their GPUs: every method planned on them, with the trainer that takes the least."""

from collections.abc import Mapping
from typing import Any

from fitserve.ask.ground import Ground
from fitserve.ask.parts import answered
from fitserve.ask.types import AskAnswer, Block, Grid, Heading, Say
from fitserve.foundation.errors import FitserveError
from fitserve.foundation.reasons import Verdict, note
from fitserve.plan.finetune import FinetuneAnswer
from fitserve.plan.finetune import finetune as plan_finetune
from fitserve.plan.finetune_request import FinetuneRequest

_TRAINERS = {"trl": "TRL", "axolotl": "Axolotl"}
"""Tried in this order; the second one also quantizes experts."""
METHODS = {"full": "Full", "lora": "LoRA", "qlora": "QLoRA", "dora": "DoRA"}


def planned_methods(ground: Ground, gpus: tuple[str, ...]) -> Mapping[str, FinetuneAnswer] | None:
    """The plan of each method on these GPUs; None where one cannot be made (cards of several kinds, a model unread)."""
    found: dict[str, FinetuneAnswer] = {}
    for method in METHODS:
        try:
            found[method] = _best(ground, method, gpus)
        except FitserveError:
            return None
    return found


def _best(ground: Ground, method: str, gpus: tuple[str, ...]) -> FinetuneAnswer:
    tried = []
    for trainer in _TRAINERS:
        request = FinetuneRequest.read(model=ground.model, method=method, trainer=trainer, gpu=gpus)
        tried.append(plan_finetune(request, ground.world))
        if tried[-1].verdict is Verdict.FITS:
            return tried[-1]
    return min(tried, key=lambda answer: answer.memory.total_bytes.likely)


def training_answer(ground: Ground, plans: Mapping[str, FinetuneAnswer], gpus: tuple[str, ...]) -> AskAnswer:
    """The method that was asked for, else the first that fits; all of them in a table."""
    fitting = [name for name in ("full", "lora", "qlora") if plans[name].verdict is Verdict.FITS]
    method = ground.asked.method or (fitting[0] if fitting else "qlora")
    chosen = plans[method]
    fits = chosen.verdict is Verdict.FITS
    values: dict[str, Any] = {
        "method": METHODS[method], "model": chosen.model.id, "trainer": _TRAINERS[chosen.request.trainer],
        "need_bytes": round(chosen.memory.total_bytes.likely), "usable_bytes": chosen.usable_bytes,
        "tokens": chosen.request.sequence, "longest": chosen.longest_sequence,
    }  # fmt: skip
    blocks: list[Block] = [Say(note("ask_train_fits" if fits else "ask_train_no", **values), strong=True)]
    if not fits and chosen.enough is not None:
        blocks.append(Say(note("ask_train_enough", method=METHODS[method], count=chosen.enough.gpu_count)))
    if not fits and (others := tuple(METHODS[name] for name in fitting)):
        blocks.append(Say(note("ask_finetune_instead", methods=others)))
    rows = tuple(
        (
            METHODS[name], ("bytes", round(plan.memory.total_bytes.likely)),
            str(plan.longest_sequence) if plan.longest_sequence else "–",
            _TRAINERS[plan.request.trainer], f"verdict:{plan.verdict}",
        )
        for name, plan in plans.items()
    )  # fmt: skip
    blocks += [
        Heading("ask_finetune_table"),
        Grid(("ask_method", ">ask_per_gpu", ">ask_longest", "ask_trainer", "verdict"), rows),
        Say(note("ask_train_basis", tokens=chosen.request.sequence)),
    ]
    flags = " ".join(f"--gpu {gpu}" for gpu in gpus)
    trainer = (
        ""
        if chosen.request.trainer == FinetuneRequest.model_fields["trainer"].default
        else f" --trainer {chosen.request.trainer}"
    )
    train = f"fitserve finetune {ground.model} --method {method} {flags}{trainer}"
    more = (train, f"fitserve cost {flags} --hours 10 --hours 50 --hours 100")
    return answered(ground, "fits" if fits else "does_not_fit", blocks, follow_up=more)
