"""Coding assistants and chat front ends."""

import json
import re
from typing import Any

from fitserve.emit.clients.types import Endpoint, Settings, told
from fitserve.emit.shells import bash, powershell
from fitserve.emit.yaml_text import yaml_text
from fitserve.engines.contract import LaunchFile

PROVIDER = "fitserve"
NO_KEY = "none"
"""Servers without a key take any; clients want one."""
_LOOPBACK = re.compile(r"^(https?://)(?:127\.0\.0\.1|localhost|\[::1\])([:/]|$)")
_WEB_PORT = 3000


def cline(to: Endpoint) -> Settings:
    """A provider of its own for the command line; the extension for VS Code keeps its settings in its own store."""
    model = {
        "id": to.model,
        "name": to.model,
        "contextWindow": to.context_tokens,
        "maxTokens": to.answer_tokens,
    }
    provider = {
        "name": PROVIDER,
        "baseUrl": to.openai_url,
        "defaultModelId": to.model,
        "protocol": "openai-chat",
        "client": "openai-compatible",
    }
    text = _json({"version": 1, "providers": {PROVIDER: {"provider": provider, "models": {to.model: model}}}})
    # double quotes, so that the shell puts the key in place of its name
    key = NO_KEY if to.key_variable is None else f'"${to.key_variable}"'
    login = bash(["cline", "auth", PROVIDER, "--modelid", to.model, "--apikey"], {}).replace(" \\\n ", "") + f" {key}"
    return Settings(
        files=(LaunchFile(path="~/.cline/data/settings/models.json", text=text),),
        steps=(
            told("cline_extension", url=to.openai_url, model=to.model, context_tokens=to.context_tokens),
            told("cline_cli", command=login),
        ),
    )


def continue_dev(to: Endpoint) -> Settings:
    """config.yaml of Continue; a key comes from its .env file."""
    key = NO_KEY if to.key_variable is None else f"${{{{ secrets.{to.key_variable} }}}}"
    model = {
        "name": to.model,
        "provider": "openai",
        "model": to.model,
        "apiBase": to.openai_url,
        "apiKey": key,
        "roles": ["chat", "edit", "apply"],
        "defaultCompletionOptions": {"contextLength": to.context_tokens, "maxTokens": to.answer_tokens},
    }
    document = {"name": PROVIDER, "version": "1.0.0", "schema": "v1", "models": [model]}
    secret = () if to.key_variable is None else (told("continue_key", variable=to.key_variable),)
    return Settings(
        files=(LaunchFile(path="~/.continue/config.yaml", text=yaml_text(document)),),
        steps=(told("continue_merge"), *secret),
    )


def open_webui(to: Endpoint) -> Settings:
    """`docker run` of Open WebUI: in the host's network on Linux, through Docker Desktop's name for the host elsewhere."""
    key = "OPENAI_API_KEY" if to.key_variable is not None else f"OPENAI_API_KEY={NO_KEY}"
    image = "ghcr.io/open-webui/open-webui:main"
    start = ("docker", "run", "--detach", "--name", "open-webui", "--restart", "always")
    data = ("-v", "open-webui:/app/backend/data")
    linux = [*start, "--network", "host", "-e", f"PORT={_WEB_PORT}", "-e", f"OPENAI_API_BASE_URL={to.openai_url}"]
    desktop = [*start, "-p", f"127.0.0.1:{_WEB_PORT}:8080", "-e", f"OPENAI_API_BASE_URL={_seen_inside(to.openai_url)}"]
    from_own = "" if to.key_variable is None else f'export OPENAI_API_KEY="${to.key_variable}"\n'
    from_env = "" if to.key_variable is None else f"$env:OPENAI_API_KEY = $env:{to.key_variable}\n"
    return Settings(
        files=(
            LaunchFile(path="open-webui.sh", text=f"{from_own}{bash([*linux, '-e', key, *data, image], {})}\n"),
            LaunchFile(
                path="open-webui.ps1", text=f"{from_env}{powershell([*desktop, '-e', key, *data, image], {})}\n"
            ),
        ),
        env={"OPENAI_API_BASE_URL": to.openai_url},
        steps=(
            told("open_webui_start", url=f"http://127.0.0.1:{_WEB_PORT}"),
            told("open_webui_context", context_tokens=to.context_tokens, answer_tokens=to.answer_tokens),
        ),
    )


def _seen_inside(url: str) -> str:
    """The address as a container of Docker Desktop sees it: its own loopback is not the host's."""
    return _LOOPBACK.sub(r"\1host.docker.internal\2", url)


def opencode(to: Endpoint) -> Settings:
    """opencode.json with a provider of its own."""
    limit = {"context": to.context_tokens, "output": to.answer_tokens}
    options = {"baseURL": to.openai_url}
    if to.key_variable is not None:
        options["apiKey"] = f"{{env:{to.key_variable}}}"
    provider = {
        "npm": "@ai-sdk/openai-compatible",
        "name": PROVIDER,
        "options": options,
        "models": {to.model: {"name": to.model, "limit": limit}},
    }
    document = {
        "$schema": "https://opencode.ai/config.json",
        "provider": {PROVIDER: provider},
        "model": f"{PROVIDER}/{to.model}",
    }
    return Settings(files=(LaunchFile(path="opencode.json", text=_json(document)),), steps=(told("opencode_place"),))


def claude_code(to: Endpoint, recommended_context_tokens: int) -> Settings:
    """Environment of Claude Code, also as a project's settings file; the key stays out of the file."""
    env = {
        "ANTHROPIC_BASE_URL": to.base,
        "ANTHROPIC_MODEL": to.model,
        "ANTHROPIC_DEFAULT_OPUS_MODEL": to.model,
        "ANTHROPIC_DEFAULT_SONNET_MODEL": to.model,
        "ANTHROPIC_DEFAULT_HAIKU_MODEL": to.model,
        "CLAUDE_CODE_SUBAGENT_MODEL": to.model,
        "CLAUDE_CODE_MAX_CONTEXT_TOKENS": str(to.context_tokens),
        "CLAUDE_CODE_MAX_OUTPUT_TOKENS": str(to.answer_tokens),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    }
    if to.key_variable is None:
        env["ANTHROPIC_AUTH_TOKEN"] = NO_KEY
        key = told("claude_start", command="claude")
    else:
        key = told("claude_start", command=f'ANTHROPIC_AUTH_TOKEN="${to.key_variable}" claude')
    short = to.context_tokens < recommended_context_tokens
    warning = (told("claude_context", need_tokens=recommended_context_tokens, have_tokens=to.context_tokens),)
    return Settings(
        files=(LaunchFile(path=".claude/settings.json", text=_json({"env": env})),),
        env=env,
        steps=(told("claude_tools"), key, *(warning if short else ())),
    )


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=2) + "\n"
