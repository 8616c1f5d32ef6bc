"""A question to its fields: grammar, aliases and likeness; no model is asked."""

import re
from decimal import Decimal

from fitserve.ask.amounts import find_context, find_hours, find_money, find_rate, find_users
from fitserve.ask.failures import quoted_failures
from fitserve.ask.hardware_words import find_gpus
from fitserve.ask.kinds import Found, kind_of, scores
from fitserve.ask.memory_words import find_memory
from fitserve.ask.model_words import find_models
from fitserve.ask.setting_words import find_cache, find_engines, find_formats, find_method, find_system, find_use
from fitserve.ask.spans import Spans
from fitserve.ask.text import language_of, pattern
from fitserve.ask.types import Named, Understood
from fitserve.foundation.reasons import Reason
from fitserve.hardware.identify import device

_THIS_MACHINE = pattern("this_machine")
_QUOTED = re.compile(r"(?:keyerror|architecture|architectures)\W{1,4}'?[\w\-]+'?")
_NO_GPU = pattern("no_gpu")
_KOREAN_WISH = re.compile(r"한국어|한글|korean")
_CHOICE = pattern("choice")
_MIXED = re.compile(r"섞|혼합|같이|함께|mixed|together|하고 .* (같이|함께)|\+|plus|그리고|각각 한|한 장씩|각 1장")


def understand(text: str, language: str | None = None) -> Understood:
    """The fields of a question in Korean or English."""
    spans = Spans.of(text)
    for quoted in _QUOTED.finditer(spans.plain):
        spans.take_letters(quoted.start(), quoted.end())  # a name that an error prints is not what was asked about
    assumed: list[Reason] = []
    kv_format = find_cache(spans)
    engines, version = find_engines(spans)
    rate = find_rate(spans)
    models, named_formats, said, unknown = find_models_after_cards(spans)
    gpus, gpu_notes, found_models = said
    assumed += gpu_notes
    formats = list(dict.fromkeys([*named_formats, *find_formats(spans)]))
    usd_per_hour, budget, currency, exchange = find_money(spans)
    memory, cards, ram = find_memory(spans, bool(gpus))
    hours = find_hours(spans)
    method = find_method(spans)
    users = find_users(spans)
    context = find_context(spans)
    os_name = find_system(spans) or ("macos" if _is_mac(gpus) else None)
    errors = quoted_failures(text) if "failure" in scores(text) else ()
    no_gpu = bool(_NO_GPU.search(text.lower())) and not gpus
    this_machine = (
        bool(_THIS_MACHINE.search(text.lower())) and not gpus and memory is None and not no_gpu and ram is None
    )
    if no_gpu:
        gpus = [Named(gpu="none", count=1)]
    found = Found(
        models=len(found_models), gpus=len(gpus), engines=len(engines), formats=len(formats),
        has_hardware=bool(gpus) or memory is not None or ram is not None or this_machine,
        has_money=usd_per_hour is not None or budget is not None, has_hours=bool(hours), has_method=method is not None,
        errors=len(errors), users=users,
    )  # fmt: skip
    kind = kind_of(text, found)
    return Understood(
        text=text, language=language or language_of(text), kind=kind, models=tuple(found_models), gpus=tuple(gpus),
        are_alternatives=_are_alternatives(text.lower(), gpus, kind), this_machine=this_machine,
        memory_bytes=memory, memory_cards=cards,
        ram_bytes=ram, engines=tuple(engines), engine_version=version, formats=tuple(formats), kv_format=kv_format,
        context_tokens=context, concurrency=users, os=os_name, method=method, use=find_use(text),
        korean=bool(_KOREAN_WISH.search(text.lower())), min_tok_per_s=rate, usd_per_hour=usd_per_hour, budget_usd=budget,
        hours=hours, currency=currency, exchange_rate=exchange, errors=errors, unknown=tuple(unknown),
        assumed=(*models, *assumed),
    )  # fmt: skip


def find_models_after_cards(
    spans: Spans,
) -> tuple[list[Reason], list[str], tuple[list[Named], list[Reason], list[str]], list[str]]:
    """Models first where a repository or a sized name stands, then cards, so that neither takes the other's words."""
    ids, formats, notes, unknown = find_models(spans)
    gpus, gpu_notes = find_gpus(spans)
    return notes, formats, (gpus, gpu_notes, ids), unknown


def _is_mac(gpus: list[Named]) -> bool:
    return bool(gpus) and all(item.gpu.startswith("apple") for item in gpus)


def _are_alternatives(text: str, gpus: list[Named], kind: str) -> bool:
    """Whether several GPUs are to be chosen among. Cards of different makers are never one machine."""
    if len(gpus) < 2:
        return False
    vendors = {device(item.gpu).vendor for item in gpus if item.gpu != "none"}
    if len(vendors) > 1 or kind in {"compare", "buy"}:
        return True
    return bool(_CHOICE.search(text)) and not _MIXED.search(text)


def as_hours(value: Decimal) -> str:
    """Hours without needless zeros."""
    return format(value.normalize(), "f")
