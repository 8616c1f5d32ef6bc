"""Blocks that several answers share: the verdict, the numbers, the table, the command, what speaks against the rest."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from fitserve.ask.ground import (
    Ground,
    best,
    capacity_bytes,
    first_version,
    flags,
    gpus_text,
    is_severe,
    lacking,
    needed_bytes,
    one_per_format,
    sensible,
)
from fitserve.ask.premises import corrections
from fitserve.ask.types import Against, AskAnswer, Block, Bullets, Command, Heading, Memory, Numbers, PlanTable, Say
from fitserve.foundation.reasons import Reason, Severity, Verdict, note
from fitserve.plan.answer import Answer, launch_command
from fitserve.search.evaluate import Evaluated

_PLANS = 6
_AGAINST = 6


def answered(ground: Ground, verdict: str | None, blocks: Sequence[Block], **more: Any) -> AskAnswer:
    """An answer with its corrections in front and what was assumed."""
    first = tuple(Say(reason) for reason in corrections(ground.asked))
    assumed = (*ground.assumed, *more.pop("notes", ()))
    once = tuple(item for index, item in enumerate(assumed) if item not in assumed[:index])
    return AskAnswer(
        understood=ground.asked, verdict=verdict, blocks=(*first, *blocks), assumed=once, use=ground.use, **more
    )


def said(item: Evaluated) -> dict[str, Any]:
    """Parameters that name a plan."""
    d = item.deployment
    return {
        "model": d.model.id, "gpus": gpus_text(item), "engine": d.engine, "version": d.engine_version,
        "format": d.weight_format.name,
    }  # fmt: skip


def verdict_blocks(ground: Ground, answer: Answer) -> tuple[str, list[Block], Evaluated | None]:
    """(verdict, first sentences, the plan that the answer goes on with)."""
    if answer.unreadable is not None:
        return "unknown", [Say(answer.unreadable, strong=True)], None
    good = sensible(answer.plans)
    free = not ground.asked.formats
    chosen = (good[0] if good else None) if free else best(answer)
    if chosen is not None:
        return "fits", [Say(_yes(chosen), strong=True), *room_blocks(chosen)], chosen
    if answer.plans:
        poor = answer.plans[0]
        if poor.deployment.offload_layers and not is_severe(poor):
            code = note("ask_only_offloaded", layers=poor.deployment.offload_layers, **said(poor))
        else:
            code = note("ask_only_severe", **said(poor))
        return "does_not_fit", [Say(code, strong=True)], None
    return _no(answer)


def _yes(item: Evaluated) -> Reason:
    return note("ask_fits", **said(item))


def room_blocks(item: Evaluated) -> list[Block]:
    """The memory of a plan in a sentence."""
    budget = item.budget
    if budget is None:
        return []
    kv, d = budget.kv, item.deployment
    numbers = note(
        "ask_numbers", weights_bytes=budget.weights_bytes, kv_bytes=kv.bytes_at_context, context_tokens=d.context_tokens,
        need_bytes=needed_bytes(item), have_bytes=capacity_bytes(item) or None, longest_tokens=kv.max_context_tokens,
    )  # fmt: skip
    return [Say(numbers)]


def _no(answer: Answer) -> tuple[str, list[Block], Evaluated | None]:
    if not answer.rejected:
        return "not_supported", [Say(note("ask_nothing_offered"), strong=True)], None
    memory = [item for item in answer.rejected if item.verdict is Verdict.DOES_NOT_FIT]
    nearest = min(memory, key=needed_bytes) if memory else answer.rejected[0]
    if memory:
        sentence = note(
            "ask_does_not_fit", need_bytes=needed_bytes(nearest), have_bytes=capacity_bytes(nearest), **said(nearest)
        )
        why = lacking(nearest)
        return "does_not_fit", [Say(sentence, strong=True), *([Say(why)] if why else [])], None
    why = lacking(nearest)
    blocks: list[Block] = [Say(note("ask_not_supported", **said(nearest)), strong=True)]
    blocks += [Say(why)] if why else []
    return str(nearest.verdict), blocks, None


def plan_blocks(ground: Ground, answer: Answer, chosen: Evaluated | None) -> list[Block]:
    """Table, memory, speed, command, and what speaks against the rest."""
    blocks: list[Block] = []
    shown = one_per_format(answer.plans, _PLANS)
    if chosen is not None and chosen not in shown:
        shown = (chosen, *shown[: _PLANS - 1])
    if shown:
        blocks += [Heading("ask_plans"), PlanTable(shown, rate=answer.rate)]
    if chosen is not None:
        blocks += [Heading("ask_memory"), Memory(chosen), Numbers(chosen, answer.rate), *_about(chosen)]
    blocks += against_blocks(answer.rejected, bool(shown))
    return blocks + command_blocks(ground, chosen)


def _about(item: Evaluated) -> list[Block]:
    notes = tuple(reason for reason in item.reasons if reason.severity is not Severity.BLOCKER)
    return [Bullets(notes)] if notes else []


def against_blocks(rejected: Sequence[Evaluated], has_plans: bool) -> list[Block]:
    """Why not the others; without any plan it is what is missing and what would help."""
    shown = tuple(rejected[:_AGAINST])
    return [Heading("ask_against" if has_plans else "ask_missing"), Against(shown)] if shown else []


def command_blocks(ground: Ground, chosen: Evaluated | None) -> list[Block]:
    """Preparation where weights have to be made, the command, the first release that runs it."""
    command = None if chosen is None else launch_command(chosen)
    if chosen is None or command is None:
        return []
    blocks: list[Block] = []
    if chosen.needs_quantizing:
        blocks += quantize_steps(chosen)
    blocks += [Heading("ask_command"), *since(chosen), Command(chosen, command)]
    if not chosen.needs_quantizing and chosen.deployment.weight_format.family == "int4":
        blocks += quantize_steps(chosen)
    return blocks


def since(item: Evaluated) -> list[Block]:
    """The first release that runs a plan, and the one that its command is for."""
    version = first_version(item)
    title = item.deployment.engine
    newest = item.deployment.engine_version
    if version is None:
        return [Say(note("ask_version_used", engine=title, version=newest))]
    if version == newest:
        return [Say(note("ask_version_least", engine=title, version=newest))]
    return [Say(note("ask_version_since", engine=title, version=newest, first=version))]


def quantize_steps(item: Evaluated) -> list[Block]:
    """How the weights of a plan are made."""
    from fitserve.ask.making import making_of  # only answers that make weights need it

    made = making_of(item.deployment.model.id, item.deployment.weight_format.name)
    return [] if made is None else [Heading("ask_make"), *made]


def instead_blocks(answer: Answer, devices: bool = True) -> list[Block]:
    """What runs where this does not, from the computed fixes: another model, layers in RAM, more devices."""
    fixes = [fix for item in answer.rejected for fix in item.fixes]
    items: list[Evaluated] = []
    sentences: list[Reason] = []
    for fix in [fix for fix in fixes if fix.knob == "model"][:1]:
        items.append(fix.result)
        sentences.append(note("ask_instead_model", **said(fix.result)))
    for fix in [fix for fix in fixes if fix.knob == "offload" and not is_severe(fix.result)][:1]:
        items.append(fix.result)
        speed, budget = fix.result.speed, fix.result.budget
        rate = None if speed is None else float(f"{speed.per_user_tok_per_s.likely:.2g}")
        host = 0 if budget is None else budget.host_bytes
        sentences.append(note("ask_instead_offload", host_bytes=host, rate=rate, **said(fix.result)))
    larger = [fix.result for fix in fixes if fix.knob == "devices" and not is_severe(fix.result)] if devices else []
    fewest = min(larger, key=lambda item: len(item.deployment.machine.devices), default=None)
    if fewest is not None:
        items.append(fewest)
        sentences.append(note("ask_instead_devices", **said(fewest)))
    if not sentences:
        return []
    return [Heading("ask_instead"), Bullets(tuple(sentences)), PlanTable(tuple(items), names_model=True)]


def follow_up(ground: Ground, chosen: Evaluated | None, model: str | None) -> tuple[str, ...]:
    """Commands that go on from the answer."""
    asked = ground.asked
    found: list[str] = []
    if model is not None:
        words = flags(ground, model, context=asked.context_tokens, concurrency=asked.concurrency)
        found.append(f"fitserve plan {words}")
    if chosen is not None:
        d = chosen.deployment
        fixed = {"engine": d.engine, "format": d.weight_format.name}
        longer = min(2 * d.context_tokens, d.model.max_context_tokens)
        more = flags(ground, d.model.id, None, **fixed, context=longer, concurrency=max(4, asked.concurrency or 1))
        found.append(f"fitserve estimate {more}")
        found.append(f"fitserve plan {flags(ground, d.model.id, None, **fixed, out='compose.yaml')}")
    if ground.gpus:
        found.append(f"fitserve fit {flags(ground, None)}")
    return tuple(found)


def without_formats(ground: Ground) -> Ground:
    """The same question with the format left open."""
    return replace(ground, asked=replace(ground.asked, formats=()))
