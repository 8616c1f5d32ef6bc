"""From what people type to a catalogue row: ids, aliases, Ollama tags, Korean spellings, quantized copies, fine-tunes."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from fitserve.foundation.errors import InputError
from fitserve.foundation.facts import load_toml
from fitserve.models.catalog.lookup import aliases, catalog_model, rows


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
_SIZE = re.compile(r"[ea]?\d+(?:\.\d+)?[bm]")
_ACTIVE = re.compile(r"a\d+(?:\.\d+)?b")
_ALTERED = re.compile(r"reap|ream|prune|moe-dark|frankenmerge|draft|(?<![a-z0-9])\d*x\d", re.IGNORECASE)
"""Words of derivatives whose layout is not that of their base: pruned experts, stacked layers, experts put together."""
_GENERIC = {"instruct", "chat", "it", "hf", "base", "model", "v1"}
_LLAMA_BENCH = re.compile(
    r"(?P<architecture>[\w.\-]+)(?: [\d.]+[BMK](?:\.A[\d.]+B)?)?, (?P<billions>[\d.]+) B parameters"
)
_SAME_COUNT = 0.005  # llama-bench prints two decimals, and converted files split some tensors


def _plain(text: str) -> str:
    return re.sub(r"[\s_\-./:]+", "", text.lower())


@lru_cache(maxsize=1)
def _by_plain() -> Mapping[str, str]:
    """Names without punctuation. Where two models collide, the instruct one is what people mean."""
    table: dict[str, str] = {}
    for name, model_id in [
        *((a, i) for a, i in aliases().items()),
        *((i, i) for i in rows()),
        *((i.split("/")[-1], i) for i in rows()),
    ]:
        key = _plain(name)
        if key not in table or (_is_chat(model_id) and not _is_chat(table[key])):
            table[key] = model_id
    return table


def spellings() -> Mapping[str, str]:
    """Every known name without punctuation to its model id."""
    return _by_plain()


def _is_chat(model_id: str) -> bool:
    return bool(re.search(r"instruct|chat|-it\b", model_id, re.IGNORECASE))


@lru_cache(maxsize=1)
def _lower_ids() -> Mapping[str, str]:
    return {model_id.lower(): model_id for model_id in rows()}


def resolve_name(text: str) -> ResolvedName:
    """The catalogue row that `text` names. Raises InputError with near misses when there is none."""
    name = text.strip()
    spoken = _spoken(name)
    for spelling in dict.fromkeys((name, spoken)):
        found = _exact(spelling) or _with_format(spelling) or _derivative(spelling) or _by_count(spelling)
        if found is not None:
            return found
    raise InputError.of("unknown_model", given=text[:120], near=tuple(near_misses(spoken)))


def _spoken(name: str) -> str:
    """Korean words replaced by those of the ids; longest first, so that 코드라마 is not read as 라마."""
    words: Mapping[str, str] = load_toml("fitserve.models", "spoken_names.toml")["words"]
    text = name.lower()
    for korean in sorted(words, key=len, reverse=True):
        text = text.replace(korean, words[korean])
    return text


def _exact(name: str) -> ResolvedName | None:
    lower = name.lower().replace("meta-llama/meta-llama-3.", "meta-llama/llama-3.")  # renamed after 3.1 came out
    nicknames: Mapping[str, str] = load_toml("fitserve.models", "spoken_names.toml")["nicknames"]
    model_id = _lower_ids().get(lower) or aliases().get(lower) or nicknames.get(lower) or _by_plain().get(_plain(name))
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


def _tokens(name: str) -> tuple[str, ...]:
    """Words of a name; a version is split from the word before it (`qwen3.5` and `qwen 3.5` are the same)."""
    parted = re.sub(r"(?<![a-z0-9.])([a-z]{3,})(\d+(?:\.\d+)?)(?![a-z0-9.])", r"\1 \2", name.lower())
    return tuple(token for token in re.split(r"[\s_\-/:()\[\],]+", parted) if token)


@lru_cache(maxsize=1)
def _known_tokens() -> tuple[tuple[frozenset[str], str], ...]:
    """Token sets of all names that state a size, generic words left out, with the model they mean."""
    found: dict[frozenset[str], str] = {}
    for name, model_id in [*((i.split("/")[-1], i) for i in rows()), *aliases().items()]:
        tokens = frozenset(_tokens(name.split("/")[-1])) - _GENERIC
        has_family = any(re.search(r"[a-z가-힣]{3}", token) for token in tokens)
        is_sized = any(_SIZE.fullmatch(token) for token in tokens)
        is_better = tokens not in found or (_is_chat(model_id) and not _is_chat(found[tokens]))
        if has_family and is_sized and is_better:
            found[tokens] = model_id
    return tuple(found.items())


def _derivative(name: str) -> ResolvedName | None:
    """A fine-tune or merge whose name holds all words of a known model and no other size: its layout is the same."""
    base = re.sub(r"\.gguf$", "", name.split("/")[-1].lower())
    if _ALTERED.search(base):
        return None
    tokens = frozenset(_tokens(base))
    sizes = {token for token in tokens if _SIZE.fullmatch(token) and token.endswith("b")}
    best: tuple[int, str] = (0, "")
    for known, model_id in _known_tokens():
        if known <= tokens and sizes - known <= set(filter(_ACTIVE.fullmatch, sizes)):
            best = max(best, (sum(map(len, known)), model_id))
    if not best[1]:
        return None
    return ResolvedName(id=best[1], variant_of=True, weight_format=_format_inside(base))


def _by_count(name: str) -> ResolvedName | None:
    """`llama 8B, 8.03 B parameters`, as llama-bench prints a model: the architecture and the parameter count."""
    match = _LLAMA_BENCH.fullmatch(name)
    if match is None:
        return None
    wanted = float(match["billions"]) * 1e9
    for model_id, row in rows().items():
        total = row["total_params"]
        if (
            row["quantized_from"]
            or not total
            or abs(total - (row["vision_params"] or 0) - (row["mtp_params"] or 0) - wanted) > _SAME_COUNT * wanted
        ):
            continue
        if catalog_model(model_id).gguf_architecture == match["architecture"]:
            return ResolvedName(id=model_id, variant_of=True)
    return None


def _format_inside(base: str) -> str | None:
    hit = _trailing_format(base)
    return hit[1] if hit else None


def format_in_name(text: str) -> str | None:
    """The weight format that a file or repository name ends in (`…-AWQ`, `…-Q4_K_M.gguf`); None when it names none."""
    return _format_inside(re.sub(r"\.gguf$", "", re.split(r"[\\/]", text.rstrip("/\\"))[-1].lower()))


def near_misses(name: str, limit: int = 3) -> list[str]:
    """Model ids whose names look like `name`, likeliest first."""
    close = difflib.get_close_matches(_plain(name.split("/")[-1]), list(_by_plain()), n=limit * 3, cutoff=0.6)
    return list(dict.fromkeys(_by_plain()[key] for key in close))[:limit]
