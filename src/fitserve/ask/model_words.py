"""Models that a question names: catalogue names in any spelling, families with a size, a size alone."""

import re
from dataclasses import dataclass, replace
from functools import lru_cache

from fitserve.ask.spans import Spans
from fitserve.ask.text import lexicon
from fitserve.foundation.errors import InputError
from fitserve.foundation.facts import load_toml
from fitserve.foundation.reasons import Reason, note
from fitserve.models.catalog.lookup import rows
from fitserve.models.names import ResolvedName, resolve_name, spellings
from fitserve.models.quantization import read_quantization

_LONGEST = 10
_SIZE = re.compile(r"\d+(?:\.\d+)?b")
_WITH_SIZE = re.compile(r"\d+(?:\.\d+)?b|x\d+b|e\d+b")
_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.\-]*/[A-Za-z0-9][\w.\-]*[A-Za-z0-9]")
_SHORT = {"qwq", "yi", "phi", "r1", "hy3"}
_NOT_NAMES = {
    "commanda", "falcon", "starling", "llama", "command", "step", "orca", "hermes", "small", "medium", "large", "ling",
    "gguf", "mini", "base", "chat", "이34b",
}  # fmt: skip
_SPECIAL = ("vl", "vision", "coder", "code", "math", "omni", "guard", "audio", "embedding", "reranker", "think", "base")
_GAP = 4


@dataclass(frozen=True, slots=True)
class Hit:
    """A model of the catalogue where a question names it."""

    first: int
    last: int
    id: str
    weight_format: str | None = None
    is_assumed: bool = False


def find_models(spans: Spans) -> tuple[list[str], list[str], list[Reason], list[str]]:
    """(model ids or names, formats that their names state, what was assumed, names that nobody knows)."""
    formats: list[str] = []
    unknown: list[str] = []
    hits = _repositories(spans, unknown)
    hits += _spelled(spans)
    hits = [_with_size(spans, hit) for hit in sorted(hits, key=lambda hit: hit.first)]
    hits += _families(spans)
    if not hits:
        hits = _sizes(spans)
    hits.sort(key=lambda hit: hit.first)
    ids = list(dict.fromkeys(hit.id for hit in hits))
    notes = [note("ask_model_assumed", given=_said(spans, hit), model=hit.id) for hit in hits if hit.is_assumed]
    formats = [hit.weight_format for hit in hits if hit.weight_format]
    return ids, formats, notes, unknown


def _said(spans: Spans, hit: Hit) -> str:
    return spans.plain[spans.words[hit.first].start : spans.words[hit.last - 1].end].strip()


def _repositories(spans: Spans, unknown: list[str]) -> list[Hit]:
    """`org/Name` as it is written; what the catalogue does not know is said."""
    hits: list[Hit] = []
    for match in _REPOSITORY.finditer(spans.original):
        text = match[0]
        if re.search(r"\.(com|org|io|ai|net)(/|$)", text.lower()) or not re.search(r"[A-Za-z]{2}", text.split("/")[1]):
            continue
        start = spans.plain.find(text.lower())
        if re.fullmatch(r"[a-z\d.]{1,8}/[a-z\d.]{1,8}", text.lower()) and not _known(text):
            continue  # `tok/s`, `AWQ/GPTQ`, `4bit/8bit`
        try:
            found = resolve_name(text)
        except InputError:
            if _is_words(text):
                continue
            unknown.append(text)
            continue
        if start < 0:
            hits.append(Hit(0, 1, found.id, _stated(found)))
            continue
        spans.take_letters(start, start + len(text))
        places = [i for i, word in enumerate(spans.words) if start <= word.start < start + len(text)]
        hits.append(Hit(places[0], places[-1] + 1, found.id, _stated(found)))
    return hits


def _stated(found: ResolvedName) -> str | None:
    """The format that a repository's name or its checkpoint states."""
    row = rows()[found.id]
    checkpoint = read_quantization(row["config"]) if row["quantized_from"] else None
    return found.weight_format or (None if checkpoint is None else checkpoint.weight_format)


def _known(text: str) -> bool:
    return text.lower() in {model_id.lower() for model_id in rows()}


def _is_words(text: str) -> bool:
    """Two alternatives (`vLLM/SGLang`, `LoRA/QLoRA`), no repository: no digit and no dash on either side."""
    return not re.search(r"[\d\-]", text.split("/")[1]) or bool(re.search(r"^[A-Z0-9]+/", text))


def _spelled(spans: Spans) -> list[Hit]:
    """Windows of words that are a name, longest first."""
    table = _table()
    hits: list[Hit] = []
    index = 0
    while index < len(spans.words):
        hit = next(
            (
                Hit(index, last, table[key])
                for last in range(min(len(spans.words), index + _LONGEST), index, -1)
                if spans.is_free(index, last)
                and (key := spans.joined(index, last)) in table
                and _is_name(spans, index, last, key)
            ),
            None,
        )
        if hit is None:
            index += 1
            continue
        hit = _unquantized(spans, hit)
        spans.take(hit.first, hit.last)
        sized = bool(_WITH_SIZE.search(spans.joined(hit.first, hit.last))) or _is_only(hit.id, spans, hit)
        hits.append(replace(hit, is_assumed=not sized))
        index = hit.last
    return hits


def _unquantized(spans: Spans, hit: Hit) -> Hit:
    """`Qwen3 32B AWQ` in words is the model and a format; written as one name it is that repository."""
    row = rows()[hit.id]
    checkpoint = None if row["quantized_from"] is None else read_quantization(row["config"])
    if checkpoint is None:
        return hit
    in_words = any(not word.is_glued for word in spans.words[hit.first + 1 : hit.last])
    base = str(row["quantized_from"]) if in_words and row["quantized_from"] in rows() else hit.id
    said = "fp8" if in_words and checkpoint.weight_format == "fp8-block" else checkpoint.weight_format
    return replace(hit, id=base, weight_format=said)


@lru_cache(maxsize=1)
def _table() -> dict[str, str]:
    nicknames = load_toml("fitserve.models", "spoken_names.toml")["nicknames"]
    short = {re.sub(r"[\s\-./:]+", "", name): model_id for name, model_id in nicknames.items()}
    known = {key: model_id for key, model_id in spellings().items() if len(key) >= 4 or key in _SHORT}
    return {key: model_id for key, model_id in (known | short).items() if key not in _NOT_NAMES and not key.isdecimal()}


def _is_name(spans: Spans, first: int, last: int, key: str) -> bool:
    if last - first > 1 and spans.text(last - 1) == "a" and not spans.words[last - 1].is_glued:
        return False
    return not _SIZE.fullmatch(key) and key not in {"llamacpp"} and bool(re.search(r"[a-z가-힣]", key))


def _is_only(model_id: str, spans: Spans, hit: Hit) -> bool:
    """Whether the words are the whole name of the model, as of those that come in one size."""
    tail = re.sub(r"[\s_\-./:]+", "", model_id.split("/")[-1].lower())
    words = spans.joined(hit.first, hit.last)
    if words in tail and not re.search(r"\d+(\.\d+)?b", tail):
        return True
    return any(name in words for name in ("scout", "maverick", "kimi", "glm", "r1", "v3", "v4", "minimax"))


def _with_size(spans: Spans, hit: Hit) -> Hit:
    """A family whose size stands apart: `llama 3의 70b`, `70B 라마3`."""
    if not hit.is_assumed:
        return hit
    for index in (*range(hit.last, hit.last + _GAP), *range(hit.first - 1, hit.first - _GAP, -1)):
        size = spans.text(index)
        if not _SIZE.fullmatch(size) or index in spans.taken:
            continue
        key = spans.joined(hit.first, hit.last) + size.replace(".", "")
        found = _table().get(key) or _of_family(spans.joined(hit.first, hit.last), size, spans.plain)
        if found is not None:
            spans.take(index, index + 1)
            return Hit(min(hit.first, index), max(hit.last, index + 1), found)
    return hit


def _families(spans: Spans) -> list[Hit]:
    """A family without its version: `라마 70B`, `qwen 32b`, or the family alone."""
    hits: list[Hit] = []
    for index, word in enumerate(spans.words):
        if index in spans.taken or word.text not in _family_words():
            continue
        sizes = [
            i
            for i in (*range(index + 1, index + 4), index - 1)
            if _SIZE.fullmatch(spans.text(i)) and i not in spans.taken
        ]
        size = spans.text(sizes[0]) if sizes else None
        found = _of_family(word.text, size, spans.plain)
        if found is None:
            continue
        last = sizes[0] if sizes else index
        spans.take(min(index, last), max(index, last) + 1)
        hits.append(Hit(min(index, last), max(index, last) + 1, found, is_assumed=True))
    return hits


@lru_cache(maxsize=1)
def _family_words() -> frozenset[str]:
    usual = {
        "llama",
        "qwen",
        "gemma",
        "mistral",
        "mixtral",
        "deepseek",
        "exaone",
        "solar",
        "kanana",
        "phi",
        "yi",
        "kimi",
        "glm",
    }
    return frozenset(
        usual | {"nemotron", "granite", "falcon", "codellama", "hyperclova", "hyperclovax", "devstral", "gptoss"}
    )


def _of_family(family: str, size: str | None, text: str) -> str | None:
    """The newest chat model of a family, of a size where one was said; special kinds only when they are named."""
    name = re.sub(r"\d+(\.\d+)?$", "", family)
    version = family[len(name) :]
    found: list[tuple[bool, str, str]] = []
    for model_id, row in rows().items():
        tail = model_id.split("/")[-1].lower()
        plain = re.sub(r"[\s_\-.]+", "", tail)
        if (
            row["quantized_from"]
            or "derivative" in (row["tags"] or ())
            or not re.sub(r"^(meta|nvidia|hyper)", "", plain).startswith(name.removeprefix("hyper"))
        ):
            continue
        if version and not re.sub(r"^meta", "", plain).startswith(name + version.replace(".", "")):
            continue
        if size is not None and size not in re.findall(r"(?<![a-z\d.])\d+(?:\.\d+)?b", tail):
            continue
        words = set(re.split(r"[^a-z]+", tail))
        special = any(kind in words and kind not in text for kind in _SPECIAL)
        if special or ("base" in (row["tags"] or ()) and not re.search(r"instruct|chat|-it\b", tail)):
            continue
        found.append((bool(re.search(r"distill", tail)), row["release_date"] or "", model_id))
    if not found or (size is None and name in {"llama", "qwen"} and len(found) == 0):
        return None
    plain_ones = [item for item in found if not item[0]] or found
    if size is None:
        return _usual(name) or max(plain_ones, key=lambda item: item[1])[2]
    return max(plain_ones, key=lambda item: item[1])[2]


def _usual(family: str) -> str | None:
    """The model that a family's name alone means."""
    table = {
        "llama": "llama3.1",
        "qwen": "qwen3",
        "gemma": "gemma3:12b",
        "deepseek": "deepseek-r1",
        "phi": "phi4",
        "yi": "yi:34b",
        "kimi": "kimi-k2",
        "glm": "glm-4.6",
    }
    try:
        return resolve_name(table[family]).id if family in table else resolve_name(family).id
    except InputError:
        return None


def _sizes(spans: Spans) -> list[Hit]:
    """A size alone: `70B 모델`."""
    table = lexicon()["sizes"]
    hits: list[Hit] = []
    for index, word in enumerate(spans.words):
        if word.text in table and index not in spans.taken:
            spans.take(index, index + 1)
            hits.append(Hit(index, index + 1, str(table[word.text]), is_assumed=True))
    return hits
