"""The server of the protocol, on standard input and output or as HTTP on this machine."""

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any

import anyio
import mcp_types as types
from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server

from fitserve import __version__
from fitserve.api.verbs import Outside
from fitserve.mcp.tools import ABOUT, call, tools
from fitserve.plan.world import World
from fitserve.render.texts import LANGUAGES, texts

_AT_ONCE = 2
_PATH = "/mcp"
_MOST_BODY_BYTES = 24 << 20
_READS = types.ToolAnnotations(read_only_hint=True, destructive_hint=False, idempotent_hint=True, open_world_hint=False)
_log = logging.getLogger("fitserve.mcp")


def make_server(world: World) -> Server[Any]:
    """A server whose tools answer from a world."""
    for language in LANGUAGES:
        texts(language).tables()  # read before threads share them
    listed = [
        types.Tool(name=tool.name, description=tool.description, input_schema=tool.schema, annotations=_READS)
        for tool in tools()
    ]
    names = {tool.name for tool in listed}
    limiter = anyio.CapacityLimiter(_AT_ONCE)

    async def on_list(_: ServerRequestContext[Any], __: types.PaginatedRequestParams | None) -> types.ListToolsResult:
        return types.ListToolsResult(tools=listed)

    async def on_call(_: ServerRequestContext[Any], asked: types.CallToolRequestParams) -> types.CallToolResult:
        if asked.name not in names:
            return _result({"error": f"There is no tool {asked.name!r}. Tools: {', '.join(sorted(names))}."}, False)
        outside = Outside(world=world, today=datetime.now(UTC).date().isoformat())
        given = asked.arguments or {}
        form, is_answer = await anyio.to_thread.run_sync(_answer, asked.name, given, outside, limiter=limiter)
        return _result(form, is_answer)

    return Server("fitserve", version=__version__, instructions=ABOUT, on_list_tools=on_list, on_call_tool=on_call)


def _answer(name: str, given: dict[str, Any], outside: Outside) -> tuple[dict[str, Any], bool]:
    try:
        return call(name, given, outside)
    except Exception:  # noqa: BLE001 - an agent is told that there is a bug, the log (standard error) says which
        _log.exception("tool %s", name)
        return {"error": "fitserve has a bug here; its log on standard error says where."}, False


def _result(form: dict[str, Any], is_answer: bool) -> types.CallToolResult:
    text = json.dumps(form, ensure_ascii=False, separators=(",", ":"))
    return types.CallToolResult(
        content=[types.TextContent(type="text", text=text)], structured_content=form, is_error=not is_answer
    )


def serve_stdio(world: World) -> None:
    """Until the client closes standard input. Only the protocol is written to standard output."""
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING)
    server = make_server(world)

    async def run() -> None:
        async with stdio_server() as (received, sent):
            await server.run(received, sent, server.create_initialization_options())

    anyio.run(run)


def http_app(world: World, host: str) -> Any:
    """The ASGI application: streamable HTTP under /mcp, for names of this machine only."""
    return make_server(world).streamable_http_app(
        streamable_http_path=_PATH, stateless_http=True, json_response=True, host=host,
        max_request_body_size=_MOST_BODY_BYTES,
    )  # fmt: skip
