"""Entry point: builds the commands, runs one, and turns every expected error into one clear message and an exit code."""

import contextlib
import gc
import json
import os
import sys
from collections.abc import Sequence
from importlib import import_module
from io import TextIOWrapper
from typing import TYPE_CHECKING, Any

from fitserve import __version__
from fitserve.cli.language import language_of
from fitserve.cli.plain_flags import plain_values
from fitserve.foundation.errors import FactMissing, InputError, Problem, WorldError
from fitserve.render.texts import LANGUAGES, Texts, texts

if TYPE_CHECKING:
    import cyclopts

YES, NO, BAD_INPUT, WORLD = 0, 1, 2, 3

_VERBS: dict[str, tuple[str, str | None, str | None]] = {
    "ask": ("ask:run_ask", "ask.request:AskRequest", "question"),
    "plan": ("verbs:run_plan", "plan.request:PlanRequest", "model"),
    "estimate": ("verbs:run_estimate", "plan.request:EstimateRequest", "model"),
    "fit": ("verbs:run_fit", "plan.request:FitRequest", None),
    "models": ("catalogues:run_models", None, "search"),
    "gpus": ("catalogues:run_gpus", None, "search"),
    "engines": ("catalogues:run_engines", None, None),
    "clients": ("clients:run_clients", "plan.request:ClientsRequest", "client"),
    "compare": ("verbs:run_compare", "plan.compare:CompareRequest", "variants"),
    "hardware": ("verbs:run_hardware", "plan.hardware:HardwareChoiceRequest", "model"),
    "guide": ("guide:run_guide", "guides.request:GuideRequest", None),
    "check": ("check:run_check", "check.request:CheckRequest", "command"),
    "diagnose": ("diagnose:run_diagnose", "diagnose.request:DiagnoseRequest", "log"),
    "cost": ("cost:run_cost", "plan.cost_request:CostRequest", None),
    "serve": ("serve:run_serve", "launch.request:ServeRequest", "model"),
    "runs": ("runs:run_runs", None, "what"),
    "ps": ("serve:run_ps", None, None),
    "stop": ("serve:run_stop", None, "run"),
    "finetune": ("finetune:run_finetune", "plan.finetune_request:FinetuneRequest", "model"),
    "quantize": ("quantize:run_quantize", "plan.quantize_request:QuantizeRequest", "model"),
    "probe": ("probe:run_probe", "plan.request:ProbeRequest", None),
    "bench": ("bench:run_bench_verb", "bench.request:BenchRequest", "url"),
    "eval": ("eval:run_eval_verb", "bench.request:EvalRequest", "url"),
    "validate": ("validate:run_validate", None, "files"),
    "mcp": ("mcp:run_mcp", "mcp.request:McpRequest", None),
    "web": ("web:run_web", "plan.web_request:WebRequest", None),
    "verify": ("verify:run_verify", "launch.oracle.answer:VerifyRequest", "model"),
}
"""Name to the function of a module of this package, the request that makes its flags, and its positional argument; both
as text, because only what the verb that runs needs is loaded: start-up time is what people feel."""


def build(language: str, names: Sequence[str]) -> "cyclopts.App":
    """The application with some of its commands and help in a language."""
    import cyclopts  # a plain line does without it

    from fitserve.cli.flags import command_of

    words = texts(language)
    app = cyclopts.App(
        name="fitserve",
        help=words.text("help", "about"),
        version=__version__,
        help_flags=["--help", "-h"],
        version_flags=["--version"],
    )
    for name in names:
        where, request, positional = _VERBS[name]

        def run(values: dict[str, Any], where: str = where) -> int:
            return _run(where, values, words)

        flags = None if request is None else _named(request)
        app.command(command_of(flags, run, words, positional), name=name, help=words.text("help", name))
    return app


def _run(where: str, values: dict[str, Any], words: Texts) -> int:
    _check_language(values.get("lang"))
    return int(_named(f"cli.{where}")(values, words))


def _named(where: str) -> Any:
    """`plan.request:PlanRequest` of this package."""
    module, _, name = where.partition(":")
    return getattr(import_module(f"fitserve.{module}"), name)


def _check_language(given: str | None) -> None:
    if given is not None and given not in LANGUAGES:
        raise InputError.of("choice_wrong", flag="--lang", given=given, choices=", ".join(LANGUAGES))


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command line; returns the exit code."""
    words = list(sys.argv[1:] if argv is None else argv)
    language = language_of(words)
    table = texts(language)
    as_json = "--json" in words
    try:
        if words and words[0] in _VERBS:
            where, request, positional = _VERBS[words[0]]
            values = plain_values(words[1:], None if request is None else _named(request), positional)
            if values is not None:
                return _run(where, values, table)
        return _parsed(language, words)
    except (InputError, WorldError, FactMissing) as error:
        return _report(error, table, as_json)


def _parsed(language: str, words: Sequence[str]) -> int:
    """Runs a line that needs the whole parser. Raises InputError for what the parser refuses."""
    import cyclopts

    chosen = [words[0]] if words and words[0] in _VERBS else list(_VERBS)
    app = build(language, chosen)
    try:
        return int(
            app(_with_standard_input(list(words)), exit_on_error=False, print_error=False, result_action="return_value")
            or 0
        )
    except cyclopts.CycloptsError as error:
        raise InputError(_parse_problem(error)) from error


def _with_standard_input(words: list[str]) -> list[str]:
    """`-` put last, after `--`: the parser takes it for a flag anywhere else."""
    return (
        [*(word for word in words if word != "-"), "--", "-"] if words.count("-") == 1 and "--" not in words else words
    )


def _parse_problem(error: "cyclopts.CycloptsError") -> Problem:
    """What the parser refused, as one of our own problems."""
    import cyclopts

    if isinstance(error, cyclopts.exceptions.UnknownCommandError):
        given = str(error.unused_tokens[0]) if error.unused_tokens else "?"
        return Problem("command_unknown", (("given", given), ("known", ", ".join(_VERBS))))
    if isinstance(error, cyclopts.exceptions.UnknownOptionError):
        return Problem("flag_unknown", (("flag", str(error.token.keyword or error.token.value)),))
    if isinstance(error, cyclopts.exceptions.UnusedCliTokensError):
        return Problem("argument_extra", (("given", str((error.unused_tokens or ["?"])[0])),))
    if isinstance(error, cyclopts.exceptions.MissingArgumentError) and error.argument is not None:
        name = error.argument.name
        return Problem("flag_value_missing" if name.startswith("--") else "flag_missing", (("flag", name),))
    return Problem("text_wrong", (("flag", "fitserve"), ("given", str(error).splitlines()[0][:120])))


def _report(error: InputError | WorldError | FactMissing, table: Texts, as_json: bool) -> int:
    """One clear message on standard error; with --json an object on standard output as well."""
    if isinstance(error, InputError):
        code, kind, text = BAD_INPUT, "input", table.input_error(error)
    elif isinstance(error, WorldError):
        code, kind, text = WORLD, "world", table.world_error(error)
    else:
        code, kind = NO, "unknown"
        text = table.text("reason", "fact_missing", {"fact": error.fact, "where": error.where})
    print(text, file=sys.stderr)
    if as_json:
        print(json.dumps({"schema_version": 1, "error": {"kind": kind, "text": text}}, ensure_ascii=False, indent=2))
    return code


def run() -> None:
    """The console script: UTF-8 output, no traceback."""
    gc.disable()  # the process is over in a moment, and collecting costs a tenth of it
    os.environ.setdefault("PYDANTIC_DISABLE_PLUGINS", "__all__")  # looking for plugins reads every installed package
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(encoding="utf-8", errors="replace")
    try:
        code = main()
        sys.stdout.flush()
    except BrokenPipeError:
        # the reader (head, less) went away: nothing is wrong
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = YES
    except KeyboardInterrupt:
        code = WORLD
    except Exception as error:
        if os.environ.get("FITSERVE_DEBUG"):
            raise
        language = language_of(sys.argv[1:])
        print(
            texts(language).text("world", "bug", {"detail": f"{type(error).__name__}: {error}"[:200]}), file=sys.stderr
        )
        code = WORLD
    raise SystemExit(code)
