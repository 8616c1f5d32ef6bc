"""From what people type to a catalogue row: ids, aliases, Ollama tags, Korean spellings, quantized copies, fine-tunes."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from fitserve.foundation.errors import InputError
from fitserve.models.catalog.lookup import aliases, rows


@dataclass(frozen=True, slots=True, kw_only=True)
class ResolvedName:
    """A catalogue id, a format that the name itself states, and whether the name is only a variant of the row."""

    id: str
    weight_format: str | None = None
    variant_of: bool = False


_FORMATS: tuple[tuple[str, str], ...] = (
    (r"gptq-?int8", "gptq-8bit"),
    (r"gptq(-?int4)?(-gs?128)?", "gptq-4bit"),
    (r"awq(-?4bit|-?int4)?", "awq-4bit"),
    (r"fp8(-(dynamic|static))?", "fp8"),
    (r"nvfp4|fp4", "nvfp4"),
    (r"mxfp4", "mxfp4"),
    (r"(quantized-)?w4a16|int4", "w4a16"),
    (r"(quantized-)?w8a8|int8", "int8-w8a8"),
    (r"autoround(-int4)?", "autoround-int4"),
    (r"(unsloth-)?bnb-4bit", "bnb-4bit"),
    (r"bnb-8bit", "bnb-8bit"),
    (r"mlx-([2-8])bit|([2-8])bit-mlx", "mlx-{0}bit"),
    (r"(ud-)?(i?q[1-8]_[a-z0-9_]+|tq[12]_0)", "gguf:{all}"),
    (r"bf16", "bf16"),
    (r"fp16|f16", "f16"),
)
_SIZE = re.compile(r"(?<![a-z0-9])\d+(?:\.\d+)?[bm](?![a-z0-9])")
_PRUNED = re.compile(r"reap|prune|merge|moe-dark|frankenmerge|draft|-x\d|\dx\d", re.IGNORECASE)
_MINIMUM_ALIAS = 6  # shorter aliases are too common inside other names


def _plain(text: str) -> str:
    return re.sub(r"[\s_\-./:]+", "", text.lower())


@lru_cache(maxsize=1)
def _by_plain() -> Mapping[str, str]:
    """Names without punctuation. Where two models collide, the instruct one is what people mean."""
    table: dict[str, str] = {}
    for name, model_id in [*((a, i) for a, i in aliases().items()), *((i, i) for i in rows()), *((i.split("/")[-1], i) for i in rows())]:
        key = _plain(name)
        if key not in table or _is_chat(model_id) and not _is_chat(table[key]):
            table[key] = model_id
    return table


def _is_chat(model_id: str) -> bool:
    return bool(re.search(r"instruct|chat|-it\b", model_id, re.IGNORECASE))


@lru_cache(maxsize=1)
def _lower_ids() -> Mapping[str, str]:
    return {model_id.lower(): model_id for model_id in rows()}


def resolve_name(text: str) -> ResolvedName:
    """The catalogue row that `text` names. Raises InputError with near misses when there is none."""
    name = text.strip()
    found = _exact(name) or _with_format(name) or _fine_tune(name)
    if found is None:
        raise InputError.of("unknown_model", given=text, near=tuple(near_misses(name)))
    return found


def _exact(name: str) -> ResolvedName | None:
    lower = name.lower()
    model_id = _lower_ids().get(lower) or aliases().get(lower) or _by_plain().get(_plain(name))
    return ResolvedName(id=model_id) if model_id else None


def _with_format(name: str) -> ResolvedName | None:
    """`org/Name-AWQ`, `name:8b-instruct-q4_K_M`, `Name-GGUF`: a known name followed by a format."""
    base = re.sub(r"\.gguf$", "", name.split("/")[-1], flags=re.IGNORECASE).lower().replace(".w", "-w")
    weight_format: str | None = None
    for _ in range(3):
        stripped = re.sub(r"[-_.:](gguf|mlx|hf|safetensors|quantized|i1)$", "", base)
        if stripped == base:
            hit = _trailing_format(base)
            if hit is None:
                break
            stripped, weight_format = hit[0], weight_format or hit[1]
        base = stripped
        model_id = _by_plain().get(_plain(base))
        if model_id:
            return ResolvedName(id=model_id, weight_format=weight_format)
    return None


def _trailing_format(base: str) -> tuple[str, str] | None:
    for pattern, result in _FORMATS:
        match = re.search(rf"[-_.:](?P<all>{pattern})$", base)
        if match:
            digits = next((g for g in match.groups()[1:] if g and g.isdigit()), "")
            return base[: match.start()], result.format(digits, all=match["all"].upper())
    return None


def _fine_tune(name: str) -> ResolvedName | None:
    """A derivative that carries the name and size of a known model: the layout is taken to be the same."""
    base = name.split("/")[-1].lower()
    if _PRUNED.search(base):
        return None
    sizes = set(_SIZE.findall(base.replace("_", "-")))
    plain = _plain(base)
    best = ""
    for key in _by_plain():
        if len(key) >= _MINIMUM_ALIAS and len(key) > len(best) and key in plain and any(_plain(size) in key for size in sizes):
            best = key
    if not best or len(sizes) > 1 and not all(_plain(size) in best for size in sizes):
        return None
    return ResolvedName(id=_by_plain()[best], variant_of=True, weight_format=_format_inside(base))


def _format_inside(base: str) -> str | None:
    hit = _trailing_format(base)
    return hit[1] if hit else None


def near_misses(name: str, limit: int = 3) -> list[str]:
    """Model ids whose names look like `name`, likeliest first."""
    close = difflib.get_close_matches(_plain(name.split("/")[-1]), list(_by_plain()), n=limit * 3, cutoff=0.6)
    return list(dict.fromkeys(_by_plain()[key] for key in close))[:limit]
