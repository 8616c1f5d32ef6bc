"""A whole command that the user wrote, to something that can be started: the address and the model are read off it."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fitserve.check.deployments import model_text
from fitserve.check.options import ParsedOptions, parse
from fitserve.check.programs import Invocation, invocation
from fitserve.check.releases import release_options
from fitserve.check.script import read_script
from fitserve.engines.contract import Engine, LaunchCommand
from fitserve.foundation.errors import InputError
from fitserve.foundation.units import parse_tokens
from fitserve.launch.prepare import Prepared
from fitserve.launch.request import ServeRequest
from fitserve.launch.ways import ways


def prepared_command(request: ServeRequest) -> Prepared | None:
    """None when the text is no command of an engine. Raises InputError for one that cannot be started here."""
    if " " not in request.model.strip():
        return None
    script = read_script(request.model, request.os)
    calls = [call for statement in script.statements if (call := invocation(statement)) is not None]
    if len(calls) != 1 or calls[0].engine is None:
        return None
    call, made = calls[0], calls[0].engine
    release = release_options(made.id, made.versions[-1], call.program)
    if release is None or call.container is not None:
        raise InputError.of("serve_command_unknown", given=request.model[:80])
    parsed = parse(call.arguments, release)
    return _prepared(request, made, call, parsed)


def _prepared(request: ServeRequest, made: Engine, call: Invocation, parsed: ParsedOptions) -> Prepared:
    argv = call.statement.argv[call.start - len(call.program.split()) :]
    command = LaunchCommand(argv=argv, env=call.env)
    way = next(iter(ways(command, "fitserve", has_devices=False, program=request.program)), None)
    if way is None:
        raise InputError.of("serve_no_engine", engines=(made.id,), embedded="")
    port = _number(made, parsed, "port") or int(made.facts["identity"].get("default_port") or 0)
    if not port:
        raise InputError.of("serve_command_unknown", given=request.model[:80])
    named, context = _value(made, parsed, "served_name"), _value(made, parsed, "context")
    return Prepared(
        title=" ".join(argv)[:120],
        engine_id=made.id,
        way=replace(way, cleanup=()),
        host=_value(made, parsed, "host") or "127.0.0.1",
        port=port,
        env=call.env,
        model_name=named or model_text(made, parsed),
        context_tokens=_tokens(context),
        api_key=_value(made, parsed, "api_key"),
    )


def _tokens(text: str | None) -> int | None:
    """An engine's own `auto` or -1 says nothing that could be compared."""
    try:
        number = parse_tokens(text) if text else 0
    except ValueError:
        return None
    return number if number > 0 else None


def _value(made: Engine, parsed: ParsedOptions, what: str) -> str | None:
    reads: Mapping[str, Any] = made.facts["command_line"].get("reads", {})
    given = parsed.last(tuple(reads.get(what, ())))
    return None if given is None else given.value


def _number(made: Engine, parsed: ParsedOptions, what: str) -> int | None:
    text = _value(made, parsed, what)
    return int(text) if text is not None and text.isdigit() else None
