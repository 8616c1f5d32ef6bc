"""`fitserve mcp`: the server for agents, and how clients are told of it."""

import shutil
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fitserve.emit.shells import bash_line, native_line
from fitserve.foundation.errors import InputError, WorldError
from fitserve.mcp.request import McpRequest
from fitserve.mcp.setup import Setup, setup_of
from fitserve.render.texts import Texts

_HOST = "127.0.0.1"


def run_mcp(values: dict[str, Any], texts: Texts) -> int:
    """`fitserve mcp [--http --port] | --print-config CLIENT`."""
    fields = {key: value for key, value in values.items() if key not in {"json", "out", "lang"}}
    request = McpRequest.read(**fields)
    address = f"http://{_HOST}:{request.port}/mcp"
    if request.print_config is not None:
        _print(setup_of(request.print_config, _program(), address if request.http else None), texts)
        return 0
    if find_spec("mcp") is None:
        raise InputError.of("mcp_missing")
    if request.http:
        _serve_http(request, address, texts)
        return 0
    from fitserve.cli.verbs import world
    from fitserve.mcp.server import serve_stdio  # the protocol's packages are an extra

    serve_stdio(world())  # the client that starts it may read this user's files anyway
    return 0


def _program() -> list[str]:
    """How this program is started again, by its whole path: desktop programs have another PATH."""
    found = shutil.which("fitserve", path=str(Path(sys.executable).parent)) or shutil.which("fitserve")
    return [found, "mcp"] if found else [sys.executable, "-m", "fitserve", "mcp"]


def _print(setup: Setup, texts: Texts) -> None:
    line_of = native_line if sys.platform == "win32" else bash_line
    if setup.line:
        print(f"{texts.text('mcp', 'run_line', {'client': setup.title})}\n\n{line_of(setup.line)}\n")
        print(f"{texts.text('mcp', 'or_file', {'file': setup.file})}\n\n{setup.text}")
    else:
        print(f"{texts.text('mcp', 'into_file', {'client': setup.title, 'file': setup.file})}\n\n{setup.text}")


def _serve_http(request: McpRequest, address: str, texts: Texts) -> None:
    import uvicorn

    from fitserve.api.world import closed_world
    from fitserve.mcp.server import http_app

    app = http_app(closed_world(request.allow_hub), _HOST)
    print(texts.text("mcp", "ready", {"url": address}), file=sys.stderr, flush=True)
    config = uvicorn.Config(
        app, host=_HOST, port=request.port, log_level="warning", access_log=False, server_header=False, ws="none"
    )
    server = uvicorn.Server(config)
    try:
        server.run()
    except SystemExit as error:  # how uvicorn says that the port is taken
        if not server.started:
            raise WorldError(f"listen on {_HOST}:{request.port}", "the port is in use or not allowed") from error
    except KeyboardInterrupt:
        print(file=sys.stderr)
