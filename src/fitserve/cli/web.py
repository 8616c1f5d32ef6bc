"""`fitserve web`: the pages and the REST endpoints on one port."""

import secrets
import sys
import webbrowser
from importlib.util import find_spec
from threading import Timer
from typing import Any

from fitserve.foundation.errors import InputError, WorldError
from fitserve.plan.web_request import WebRequest
from fitserve.render.texts import Texts

_NEEDED = ("fastapi", "uvicorn", "jinja2", "python_multipart")
_LEAST_TOKEN = 16
_NEW_TOKEN_BYTES = 24
_MOST_AT_ONCE = 1024
_OPEN_AFTER_S = 0.8
_TURN_S = 0.0005


def run_web(values: dict[str, Any], texts: Texts) -> int:
    """`fitserve web --host --port --token --open --allow-hub`."""
    fields = {key: value for key, value in values.items() if key not in {"json", "out", "lang"}}
    request = WebRequest.read(**fields)
    missing = tuple(name for name in _NEEDED if find_spec(name) is None)
    if missing:
        raise InputError.of("web_missing", missing=missing)
    from fitserve.api.security import is_loopback  # the web packages are an extra

    token = _token(request.token)
    if token is None and not is_loopback(request.host):
        raise InputError.of("web_without_token", host=request.host)
    address = f"http://{_shown(request.host)}:{request.port}/" + (f"?token={token}" if token else "")
    print(texts.label("web_ready", url=address), flush=True)
    if request.open:
        Timer(_OPEN_AFTER_S, webbrowser.open, (address,)).start()
    _serve(request, token)
    return 0


def _serve(request: WebRequest, token: str | None) -> None:
    import uvicorn

    from fitserve.api.app import Settings, create_app

    app = create_app(Settings(host=request.host, token=token, allow_hub=request.allow_hub))
    config = uvicorn.Config(
        app, host=request.host, port=request.port, log_level="warning", access_log=False, server_header=False,
        limit_concurrency=_MOST_AT_ONCE, timeout_keep_alive=20, ws="none", proxy_headers=False,
    )  # fmt: skip
    server = uvicorn.Server(config)
    sys.setswitchinterval(_TURN_S)  # a short request is not to wait long for its turn beside a long one
    try:
        server.run()
    except SystemExit as error:  # how uvicorn says that the port is taken
        if not server.started:
            raise WorldError(f"listen on {request.host}:{request.port}", "the port is in use or not allowed") from error
    except KeyboardInterrupt:
        print(file=sys.stderr)


def _token(given: str | None) -> str | None:
    if given == "new":
        return secrets.token_urlsafe(_NEW_TOKEN_BYTES)
    if given is not None and len(given) < _LEAST_TOKEN:
        raise InputError.of("token_too_short", least=_LEAST_TOKEN)
    return given


def _shown(host: str) -> str:
    if host in {"0.0.0.0", "::"}:  # noqa: S104 - what the user asked for, shown as an address that opens
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host
