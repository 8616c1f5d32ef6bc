"""What is known of the deployment behind a log: what the user said, else what the log states."""

import re
import shlex
from collections.abc import Iterator, Mapping
from contextlib import suppress
from itertools import pairwise

from fitserve.diagnose.request import DiagnoseRequest
from fitserve.diagnose.types import Known, Scan
from fitserve.engines.contract import Engine
from fitserve.engines.option_lists import option_row, scanned_versions
from fitserve.engines.registry import engine, engines
from fitserve.foundation.errors import InputError
from fitserve.foundation.paths import split_path
from fitserve.hardware.identify import identify
from fitserve.models.names import format_in_name

_ARGUMENT = re.compile(r"'(?P<name>\w{2,40})': (?:'(?P<text>[^']{0,300})'|(?P<number>[\w.+-]{1,40}))")
_HUB_CACHE = re.compile(r"models--([^/\\]+?)--([^/\\]+)")
_BUILD = re.compile(r"\d{4,5}")
_FIELDS = ("tp", "pp", "context", "kv_format")
_AUTO = {"auto", "None", "none", "", "-1", "0"}
_KEPT_OPTIONS = ("gpu-memory-utilization", "enforce-eager", "max-num-seqs", "max-num-batched-tokens", "quantization")
"""Options of a logged start that change the memory."""


def known_of(scan: Scan, request: DiagnoseRequest, engine_id: str | None) -> Known:
    """Names and numbers of the deployment. Raises InputError for an engine, a version or a GPU that is none."""
    made = engine(engine_id) if engine_id is not None else None
    stated = _stated(scan, made)
    version = _version(request, stated, made)
    gpus = request.gpu or tuple(_gpus(scan))
    model = request.model or _model(stated)
    fields = {name: stated[name] for name in _FIELDS if stated.get(name, "auto") not in _AUTO}
    weight_format = _format(stated)
    if weight_format is not None:
        fields["format"] = weight_format
    found = {"engine": engine_id, "engine_version": version, "model": model, "gpus": gpus, **fields}
    said = {
        "engine": request.engine,
        "engine_version": request.engine_version,
        "model": request.model,
        "gpus": request.gpu,
    }
    return Known(
        engine=engine_id,
        engine_version=version,
        model=model,
        gpus=gpus,
        os=request.os,
        ram_bytes=request.ram,
        fields=fields,
        options={name: stated[name] for name in _KEPT_OPTIONS if stated.get(name, "None") != "None"},
        origin={name: "flag" if said.get(name) else "log" for name, value in found.items() if value},
    )


def engine_id_of(name: str | None) -> str | None:
    """The engine that a user names; a fork counts as its parent. Raises InputError for a name that is none."""
    if name is None:
        return None
    plain = name.partition("==")[0].strip()
    for made in engines():
        if plain in made.facts.get("command_line", {}).get("forks", {}):
            return made.id
    return engine(plain).id


def _version(request: DiagnoseRequest, stated: Mapping[str, str], made: Engine | None) -> str | None:
    if made is None:
        return None
    said = request.engine_version or (request.engine or "").partition("==")[2]
    if said:
        return made.parse_version(said)
    build = stated.get("engine_build")
    logged = stated.get("engine_version") or (f"b{build}" if build and _BUILD.fullmatch(build) else None)
    with suppress(InputError):
        return made.parse_version(logged) if logged else None
    return None


def _stated(scan: Scan, made: Engine | None) -> dict[str, str]:
    """What the log says under its own names, command lines and printed arguments included."""
    found = {name: seen.value for name, seen in scan.known.items()}
    if "arguments" in found:
        found |= _of_arguments(found["arguments"])
    if "command_line" in found and made is not None:
        found = _of_command(found["command_line"], made) | found
    for match in scan.matches:
        for name in ("context_tokens", "tp"):
            if name in match.groups:
                found.setdefault("context" if name == "context_tokens" else name, match.groups[name])
    return found


_NAMES = {
    "tensor_parallel_size": "tp", "pipeline_parallel_size": "pp", "max_model_len": "context", "kv_cache_dtype": "kv_format",
    "model_tag": "model",
}  # fmt: skip


def _of_arguments(text: str) -> dict[str, str]:
    """`{'model': 'a/b', 'tensor_parallel_size': 2}` as printed at start-up."""
    found: dict[str, str] = {}
    for match in _ARGUMENT.finditer(text):
        value = match["text"] if match["text"] is not None else match["number"]
        name = _NAMES.get(match["name"], match["name"].replace("_", "-"))
        if value != "None":
            found[name] = {"True": "true", "False": "false"}.get(value, value)
    return found


def _of_command(text: str, made: Engine) -> dict[str, str]:
    """Options of a command line, by the names of a request; the tag of an image is the release."""
    words = _words(text)
    line = made.facts.get("command_line", {})
    reads: Mapping[str, list[str]] = line.get("reads", {})
    by_name = {name: key for key, names in reads.items() for name in names}
    newest = scanned_versions(made.package)[-1]
    found: dict[str, str] = {}
    for image in line.get("images", ()):
        tag = next((word[len(image) + 1 :] for word in words if word.startswith(f"{image}:")), "")
        if tag.lstrip("v")[:1].isdigit():
            found["engine_version"] = tag.lstrip("v")
    for index, word in enumerate(words):
        name, _, value = word.partition("=")
        value = value or (words[index + 1] if index + 1 < len(words) else "")
        row = option_row(made.package, newest, name)
        full = str(row["name"]) if row is not None else name
        if full in by_name:
            found[by_name[full]] = value
        elif full.lstrip("-") in _KEPT_OPTIONS:
            found[full.lstrip("-")] = "true" if value.startswith("-") or not value else value
    if line.get("positional_model") and "model" not in found:
        first = next(_positional(words), None)
        found |= {} if first is None else {"model": first}
    return {"model" if key == "hub_model" else key: value for key, value in found.items()}


def _positional(words: list[str]) -> Iterator[str]:
    """The word after `serve` or `run`."""
    for before, word in pairwise(words):
        if before in {"serve", "run"} and not word.startswith("-") and ("/" in word or ":" in word):
            yield word


def _words(text: str) -> list[str]:
    try:
        return shlex.split(text.replace("\\", "/"), posix=True)
    except ValueError:
        return text.split()


def _model(stated: Mapping[str, str]) -> str | None:
    """A model as one would name it: paths of a cache become ids, other paths their last part."""
    text = stated.get("model") or stated.get("model_file")
    if not text:
        return None
    cached = _HUB_CACHE.search(text)
    if cached is not None:
        return f"{cached[1]}/{cached[2]}"
    if text.startswith(("/", ".", "~")) or ":\\" in text or text.lower().endswith(".gguf"):
        last = split_path(text)[1]
        return None if last.startswith("sha256") else last.partition("-00001-of-")[0].removesuffix(".gguf")
    return text


def _format(stated: Mapping[str, str]) -> str | None:
    """The weight format that a file name or a quantization option means; a checkpoint says its own."""
    file = stated.get("model_file") or stated.get("model", "")
    if file.lower().endswith(".gguf"):
        return format_in_name(file)
    return "bnb-4bit" if stated.get("quantization") == "bitsandbytes" else None


def _gpus(scan: Scan) -> Iterator[str]:
    """Devices that the log names, with their numbers."""
    counts: dict[str, int] = {}
    for name in scan.gpus.values():
        with suppress(InputError):
            known = identify(name).device.id
            counts[known] = counts.get(known, 0) + 1
    for name, count in counts.items():
        yield f"{name}:{count}"
