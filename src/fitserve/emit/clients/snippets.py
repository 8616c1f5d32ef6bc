"""Short programs for the OpenAI SDKs, and one request by curl."""

import json

from fitserve.emit.clients.assistants import NO_KEY
from fitserve.emit.clients.types import Endpoint, Settings, told
from fitserve.emit.shells import bash
from fitserve.engines.contract import LaunchFile

_QUESTION = "Reply with one word: ready"


def openai_python(to: Endpoint) -> Settings:
    """A first request with the Python SDK."""
    key = repr(NO_KEY) if to.key_variable is None else f"os.environ[{to.key_variable!r}]"
    lines = [
        *(["import os", ""] if to.key_variable is not None else []),
        "from openai import OpenAI",
        "",
        f"client = OpenAI(base_url={to.openai_url!r}, api_key={key})",
        "answer = client.chat.completions.create(",
        f"    model={to.model!r},",
        f'    messages=[{{"role": "user", "content": "{_QUESTION}"}}],',
        f"    max_tokens={to.answer_tokens},  # prompt and answer share {to.context_tokens} tokens",
        ")",
        "print(answer.choices[0].message.content)",
    ]
    return Settings(files=(LaunchFile(path="client.py", text="\n".join(lines) + "\n"),), steps=(told("python_run"),))


def openai_javascript(to: Endpoint) -> Settings:
    """A first request with the JavaScript SDK."""
    key = json.dumps(NO_KEY) if to.key_variable is None else f"process.env.{to.key_variable}"
    lines = [
        'import OpenAI from "openai";',
        "",
        f"const client = new OpenAI({{ baseURL: {json.dumps(to.openai_url)}, apiKey: {key} }});",
        "const answer = await client.chat.completions.create({",
        f"  model: {json.dumps(to.model)},",
        f'  messages: [{{ role: "user", content: "{_QUESTION}" }}],',
        f"  max_tokens: {to.answer_tokens}, // prompt and answer share {to.context_tokens} tokens",
        "});",
        "console.log(answer.choices[0].message.content);",
    ]
    file = LaunchFile(path="client.mjs", text="\n".join(lines) + "\n")
    return Settings(files=(file,), steps=(told("javascript_run"),))


def curl(to: Endpoint) -> Settings:
    """A first request by curl."""
    asked = {"model": to.model, "messages": [{"role": "user", "content": _QUESTION}], "max_tokens": to.answer_tokens}
    argv = ["curl", "--url", f"{to.openai_url}/chat/completions", "--header", "Content-Type: application/json"]
    text = bash([*argv, "--data", json.dumps(asked)], {})
    if to.key_variable is not None:
        text += f' \\\n  --header "Authorization: Bearer ${to.key_variable}"'
    return Settings(
        files=(LaunchFile(path="request.sh", text=text + "\n"),),
        steps=(told("curl_context", context_tokens=to.context_tokens),),
    )
