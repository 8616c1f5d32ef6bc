"""The option parser of one vLLM source tree, built without torch; tools/vllm_parser.py runs it in an environment of its own.

`python vllm_stubbed.py SOURCE` reads argument lists (JSON) from stdin and prints one JSON object: every option name of
`vllm serve`, the registered names of quantization methods and parsers, and for each list the values understood, or why
it was refused.

vLLM's own code builds the parser from its own dataclasses; its own types check the values. Only libraries that have no
say in it (torch, transformers, web servers …) and compiled modules are replaced by stand-ins; a module that vLLM itself
ought to have but lacks is an error.
"""

import contextlib
import dataclasses
import importlib
import importlib.abc
import importlib.machinery
import importlib.metadata
import io
import json
import sys
import types
import typing
from collections.abc import Iterator, Sequence
from typing import Any

_REPLACED = """
    PIL aiohttp anthropic blake3 cbor2 compressed_tensors cpuinfo cv2 depyf diskcache einops fastapi filelock
    flashinfer gguf grpc httpx huggingface_hub ijson jinja2 jsonschema lark llguidance lmformatenforcer mcp
    mistral_common model_hosting_container_standards numba numpy openai openai_harmony opentelemetry orjson
    outlines_core pandas partial_json_parser prometheus_client prometheus_fastapi_instrumentator pybase64
    python_multipart quack ray referencing requests safetensors scipy sentencepiece setproctitle soundfile starlette
    sympy tabulate tiktoken tilelang tokenizers torch torchaudio torchvision tqdm transformers triton urllib3 uvicorn
    uvloop watchfiles xgrammar zmq
"""
STUBBED = frozenset(_REPLACED.split())
"""Libraries that are replaced, installed or not."""
COMPILED = ("vllm._C", "vllm._moe_C", "vllm._rocm_C", "vllm._flashmla", "vllm.vllm_flash_attn", "vllm.cumem_allocator")
NEWEST_OF_ALL = "99.0.0"  # what a stand-in says of its version: recent enough for every check
# Where these lie has changed; the first place that has them counts.
PLACES = {
    "FlexibleArgumentParser": ("vllm.utils.argparse_utils", "vllm.utils"),
    "make_arg_parser": (
        "vllm.entrypoints.common.cli_args",
        "vllm.entrypoints.launchers.cli_args",
        "vllm.entrypoints.openai.cli_args",
    ),
    "ReasoningParserManager": ("vllm.reasoning",),
    "ToolParserManager": ("vllm.tool_parsers", "vllm.entrypoints.openai.tool_parsers"),
}


class StubType(type(typing.Protocol)):  # type: ignore[misc]
    """A class whose attributes are further ones; serves as base, annotation, decorator, context and value."""

    def __getattr__(cls, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _attach(cls, name, cls.__module__)

    def __call__(cls, *given: Any, **named: Any) -> Any:
        """Itself; as a decorator, what it decorates."""
        decorates = len(given) == 1 and not named and isinstance(given[0], types.FunctionType | type)
        return given[0] if decorates else cls

    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return {"type": "any"}

    def __getitem__(cls, key: Any) -> Any:
        return cls

    def __iter__(cls) -> Iterator[Any]:
        return iter(())

    def __len__(cls) -> int:
        return 0

    def __bool__(cls) -> bool:
        return True

    def __or__(cls, other: Any) -> Any:
        return typing.Union[cls, other]  # noqa: UP007 - the operator would come back here

    def __ror__(cls, other: Any) -> Any:
        return typing.Union[other, cls]  # noqa: UP007

    def __enter__(cls) -> Any:
        return cls

    def __exit__(cls, *_: object) -> None:
        return None

    def __lt__(cls, other: object) -> bool:
        return False

    __le__ = __gt__ = __ge__ = __lt__

    def __add__(cls, other: object) -> Any:
        return cls

    __radd__ = __sub__ = __mul__ = __rmul__ = __truediv__ = __floordiv__ = __and__ = __add__


class StubModule(types.ModuleType):
    """A module that has whatever is asked of it."""

    __version__ = NEWEST_OF_ALL

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return _attach(self, name, self.__name__)


def _attach(owner: Any, name: str, module: str) -> StubType:
    made = StubType(name, (), {"__module__": module})
    setattr(owner, name, made)
    return made


class Stubs(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds the stand-ins before anything that is installed."""

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> importlib.machinery.ModuleSpec | None:
        """The stand-in of a module, None for one that is to be real."""
        replaced = name.partition(".")[0] in STUBBED or name.startswith(COMPILED)
        return importlib.machinery.ModuleSpec(name, self, is_package=True) if replaced else None

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> types.ModuleType:
        """An empty stand-in."""
        return StubModule(spec.name)

    def exec_module(self, module: types.ModuleType) -> None:
        """Nothing to run."""


def _schema(function: Any, **_: Any) -> str:
    """What torch.library.infer_schema is asked for here: the number of tensors returned."""
    returned = str(function.__annotations__.get("return"))
    return "() -> " + ", ".join(["Tensor"] * returned.count("Tensor"))


def prepare(source: str) -> None:
    """Makes the source tree importable, on the CPU platform, so that no device is asked for."""
    real_version = importlib.metadata.version
    importlib.metadata.version = lambda name: NEWEST_OF_ALL if name in STUBBED else real_version(name)
    sys.path.insert(0, source)
    sys.meta_path.insert(0, Stubs())
    torch = importlib.import_module("torch")
    torch.iinfo = lambda kind: types.SimpleNamespace(min=-(2**63), max=2**63 - 1)
    importlib.import_module("torch.library").infer_schema = _schema
    platforms = importlib.import_module("vllm.platforms")
    platforms.current_platform = importlib.import_module("vllm.platforms.cpu").CpuPlatform()


def _find(name: str) -> Any:
    for place in PLACES[name]:
        try:
            module = importlib.import_module(place)
        except ModuleNotFoundError as error:
            if error.name is None or not place.startswith(error.name):
                raise
            continue
        if hasattr(module, name):
            return getattr(module, name)
    raise SystemExit(f"{name} is in none of {PLACES[name]}")


def _plain(value: Any) -> Any:
    """A value as JSON has it; a config object by those of its fields that are plain."""
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
        return {name: item for name, item in fields.items() if isinstance(item, str | int | float | bool)}
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


class Judge:
    """The parser of the release, its types, and its registries."""

    def __init__(self) -> None:
        self.parser = _find("make_arg_parser")(_find("FlexibleArgumentParser")())
        self.methods = list(importlib.import_module("vllm.model_executor.layers.quantization").QUANTIZATION_METHODS)

    def options(self) -> dict[str, str]:
        """Every spelling of every option, hidden ones too, with the name under which its value is kept."""
        return {name: action.dest for name, action in self.parser._option_string_actions.items()}

    def understand(self, given: Sequence[str]) -> dict[str, Any]:
        """{"values": …} or {"refused": …}."""
        said = io.StringIO()
        try:
            with contextlib.redirect_stderr(said):
                values = vars(self.parser.parse_args(list(given)))
            self._check(values)
        except SystemExit:
            return {"refused": said.getvalue().strip().splitlines()[-1]}
        except Exception as error:  # noqa: BLE001 - whatever a validator of vLLM raises is a refusal
            return {"refused": f"{type(error).__name__}: {error}"}
        return {"values": {name: _plain(value) for name, value in values.items()}}

    def _check(self, values: dict[str, Any]) -> None:
        """What the engine checks behind its parser: the cache's settings and the method's name."""
        cache = importlib.import_module("vllm.config").CacheConfig
        cache(cache_dtype=values["kv_cache_dtype"], gpu_memory_utilization=values["gpu_memory_utilization"])
        method = values.get("quantization")
        if method is not None and method not in self.methods:
            raise ValueError(f"quantization method {method} is not registered")


def _registered(manager: Any, table: str) -> list[str]:
    """Names of a registry: newer releases list them without importing each, older ones keep a table."""
    return sorted(manager.list_registered() if hasattr(manager, "list_registered") else getattr(manager, table))


def main() -> None:
    """Reads, judges, prints."""
    lists = json.load(sys.stdin)
    printed = sys.stdout
    sys.stdout = sys.stderr  # the engine's own log lines
    prepare(sys.argv[1])
    judge = Judge()
    answer = {
        "options": judge.options(),  # spelling -> name of the value
        "quantization_methods": sorted(judge.methods),
        "tool_call_parsers": _registered(_find("ToolParserManager"), "tool_parsers"),
        "reasoning_parsers": _registered(_find("ReasoningParserManager"), "reasoning_parsers"),
        "results": [judge.understand(given) for given in lists],
    }
    json.dump(answer, printed)


if __name__ == "__main__":
    main()
