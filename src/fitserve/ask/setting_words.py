"""Weight formats, cache formats, engines with their versions, systems and methods in a question."""

import re
from collections.abc import Mapping

from fitserve.ask.spans import Spans
from fitserve.ask.text import lexicon, pattern
from fitserve.engines.registry import ENTRIES

_GGUF = pattern("gguf")
_WIDTH = re.compile(r"(?<![\d.])(?P<bits>\d(?:\.\d+)?)\s*bpw")
_EXL = re.compile(r"(?<![a-z])(?P<name>exl[23])(?:[\s:\-_]*(?P<bits>\d(?:\.\d+)?)(?:\s*bpw)?)?")
_BITS = re.compile(r"(?<![\w.])(?P<bits>[2-8]|16)\s*-?\s*bit")
_MLX = re.compile(r"mlx[\s\-]*(?P<bits>[2-8])[\s\-]*bit|(?P<other>[2-8])[\s\-]*bit[\s\-]*mlx")
_NAMES: tuple[tuple[str, str], ...] = (
    (r"fp8[-_ ]?block", "fp8-block"), (r"nvfp4|fp4", "nvfp4"), (r"mxfp4", "mxfp4"), (r"fp8|에프피8", "fp8"),
    (r"bf16|bfloat16|비플로트", "bf16"), (r"fp16|float16|f16|half precision|반정밀도", "f16"), (r"fp32|float32", "f32"),
    (r"w4a16", "w4a16"), (r"w8a8", "int8-w8a8"), (r"gptq[-_ ]?(int)?8", "gptq-8bit"), (r"gptq", "gptq-4bit"),
    (r"awq", "awq-4bit"), (r"autoround|auto-round", "autoround-int4"), (r"nf4|bnb|bitsandbytes|bits and bytes", "bnb-4bit"),
    (r"int8|인트8", "int8-w8a8"), (r"int4|인트4", "w4a16"),
)  # fmt: skip
_WHOLE = {"gguf": "gguf", "exl2": "exl2", "exl3": "exl3"}
_KV = pattern("kv")
_KV_NAMES = {
    "q8": "q8_0",
    "q4": "q4_0",
    "fp16": "f16",
    "8bit": "q8_0",
    "4bit": "q4_0",
    "8-bit": "q8_0",
    "4-bit": "q4_0",
}
_ENGINES: tuple[tuple[str, str], ...] = (
    ("vllm", "vllm"), ("sglang", "sglang"), ("tensorrtllm", "tensorrt-llm"), ("tensorrt", "tensorrt-llm"),
    ("llamacpp", "llama.cpp"), ("ollama", "ollama"), ("exllamav3", "exllamav3"), ("exllamav2", "exllamav2"),
    ("tabbyapi", "exllamav3"), ("exllama", "exllamav3"), ("textgenerationwebui", "text-generation-webui"),
    ("transformers", "transformers"), ("tgi", "tgi"), ("mlx", "mlx"), ("lmstudio", "lmstudio"),
)  # fmt: skip
_VERSION = pattern("version").pattern
_INSTEAD = re.compile(r"\s*(말고|대신|아니고|빼고)")
_INSTEAD_OF = re.compile(r"(instead of|rather than|other than|without|not)\s*$")
_SYSTEMS = (
    (r"windows|(?<![a-z])wsl|powershell|\.bat", "windows"), (r"linux|ubuntu|debian|centos|rocky", "linux"),
    (r"macos|mac os|macstudio|macmini|macbook|applesilicon|(?<![a-z])imac|(?<![가-힣])맥(?:에서|에|으로|용)", "macos"),
)  # fmt: skip


def find_cache(spans: Spans) -> str | None:
    """The format of the KV cache; its words are taken."""
    found = _KV.search(spans.plain)
    if found is None:
        return None
    spans.take_letters(found.start(), found.end())
    text = re.sub(r"\s", "", found["format"] or found["before"])
    return _KV_NAMES.get(text, text)


def find_formats(spans: Spans) -> list[str]:
    """Weight formats in the order of the question. `4bit` stands for any format of four bits, `gguf` for any mix."""
    found: list[tuple[int, str]] = []
    for wanted, make in (
        (_MLX, lambda m: f"mlx-{m['bits'] or m['other']}bit"),
        (_EXL, lambda m: f"{m['name']}:{m['bits']}bpw" if m["bits"] else m["name"]),
        (_GGUF, _gguf_name),
        (_WIDTH, lambda m: f"exl3:{m['bits']}bpw"),
    ):
        for match in wanted.finditer(spans.plain):
            if spans.letters_free(match.start(), match.end()):
                spans.take_letters(match.start(), match.end())
                found.append((match.start(), make(match)))
    for text, name in _NAMES:
        for match in re.finditer(rf"(?<![a-z0-9])(?:{text})(?![a-z0-9])", spans.plain):
            if spans.letters_free(match.start(), match.end()):
                spans.take_letters(match.start(), match.end())
                found.append((match.start(), name))
    found += _bits(spans, found)
    whole = re.search(r"(?<![a-z])gguf(?![a-z])", spans.plain)
    named = any(name.startswith("gguf") for _, name in found)
    if whole is not None and not named and spans.letters_free(whole.start(), whole.end()):
        found.append((whole.start(), "gguf"))
    return _without_widths(list(dict.fromkeys(name for _, name in sorted(found))))


def _bits(spans: Spans, known: list[tuple[int, str]]) -> list[tuple[int, str]]:
    """`4bit` where no format of that width stands beside it (`AWQ 4bit`)."""
    found: list[tuple[int, str]] = []
    for match in _BITS.finditer(spans.plain):
        if not spans.letters_free(match.start(), match.end()):
            continue
        spans.take_letters(match.start(), match.end())
        beside = [name for place, name in known if abs(place - match.start()) < 14 and name not in {"gguf"}]
        if match["bits"] == "8" and "gptq-4bit" in beside:
            known[:] = [(p, "gptq-8bit" if n == "gptq-4bit" else n) for p, n in known]
        elif match["bits"] == "8" and "bnb-4bit" in beside:
            known[:] = [(p, "bnb-8bit" if n == "bnb-4bit" else n) for p, n in known]
        elif not beside:
            found.append((match.start(), "bf16" if match["bits"] == "16" else f"{match['bits']}bit"))
    return found


def _gguf_name(match: re.Match[str]) -> str:
    kind, size, bits = match["kind"], match["size"], match["bits"]
    if match["type"] == "iq":
        tail = "_".join(part.upper() for part in (kind, size) if part)
        return f"gguf:IQ{bits}_{tail or 'XS'}"
    if kind in {"m", "s"} and size is None:
        kind, size = "k", kind
    if kind is None:
        return {
            "4": "gguf:Q4_K_M",
            "5": "gguf:Q5_K_M",
            "6": "gguf:Q6_K",
            "8": "gguf:Q8_0",
            "3": "gguf:Q3_K_M",
            "2": "gguf:Q2_K",
        }.get(bits, f"gguf:Q{bits}_0")
    if kind == "k" and size is None and bits in "345":
        size = "m"
    ud = "UD-" if match["ud"] else ""
    return f"gguf:{ud}Q{bits}_{kind.upper()}" + (f"_{size.upper()}" if size else "")


def _without_widths(names: list[str]) -> list[str]:
    """`exl2` beside `exl3:4.65bpw` of the bare width means that width in EXL2."""
    widths = [name.split(":")[1] for name in names if name.startswith("exl3:")]
    if "exl2" in names and widths:
        names = [f"exl2:{widths[0]}" if name == "exl2" else name for name in names if not name.startswith("exl3:")]
    if "exl3" in names and widths:
        names = [name for name in names if name != "exl3"]
    return [name for name in names if name != "gguf" or not any(other.startswith("gguf:") for other in names)]


def find_engines(spans: Spans) -> tuple[list[str], str | None]:
    """(engines in order, version of the first that has one)."""
    found: list[tuple[int, str, str | None]] = []
    for word, engine_id in _ENGINES:
        for match in re.finditer(rf"(?<![a-z0-9]){word}(?![a-z0-9])(?!\s*-?[2-8]\s*-?bit)(?:{_VERSION})?", spans.plain):
            if not spans.letters_free(match.start(), match.start() + len(word)):
                continue
            spans.take_letters(match.start(), match.end())
            behind, ahead = spans.plain[match.end() : match.end() + 5], spans.plain[: match.start()]
            if _INSTEAD.match(behind) or _INSTEAD_OF.search(ahead):
                continue
            found.append((match.start(), engine_id, match["version"]))
    found.sort()
    version = next((v for _, _, v in found if v), None) or _version_before(spans, found)
    known = {entry.id for entry in ENTRIES}
    return list(dict.fromkeys(name for _, name, _ in found if name in known)), version


def _version_before(spans: Spans, found: list[tuple[int, str, str | None]]) -> str | None:
    """`v0.5.1 이미지`, `0.5.1 버전`: the version of the only engine, elsewhere in the question."""
    if len({name for _, name, _ in found}) != 1:
        return None
    match = re.search(r"(?<![\w.])v?(\d+\.\d+\.\d+)(?![\w.])", spans.plain)
    return match[1] if match and spans.letters_free(match.start(), match.end()) else None


def find_system(spans: Spans) -> str | None:
    """The operating system."""
    return next((name for wanted, name in _SYSTEMS if re.search(wanted, spans.plain)), None)


def find_method(spans: Spans) -> str | None:
    """The way of fine-tuning."""
    plain = spans.plain
    for wanted, name in (
        (r"qlora|q-lora|q lora", "qlora"), (r"(?<![a-z])dora(?![a-z])", "dora"), (r"(?<![a-z])lora(?![a-z])|peft", "lora"),
        (pattern("full_finetune").pattern, "full"),
    ):  # fmt: skip
        if re.search(wanted, plain):
            return name
    return None


def find_use(text: str) -> str | None:
    """The purpose: the first in the table whose words stand in the question."""
    uses: Mapping[str, list[str]] = lexicon()["uses"]
    lower = text.lower()
    for name, words in uses.items():
        for word in words:
            if re.search(rf"(?<![a-z]){re.escape(word)}", lower):
                return name
    return None
