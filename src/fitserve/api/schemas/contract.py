"""The JSON of CONTRACT as a schema: what scripts rely on. Further keys are allowed, missing or renamed ones are not."""

from typing import Any

NUMBER = {"type": "number"}
WHOLE = {"type": "integer"}
TEXT = {"type": "string"}


def record(required: dict[str, Any], **more: Any) -> dict[str, Any]:
    """An object with these keys."""
    return {"type": "object", "required": list(required), "properties": required, **more}


def listed(item: Any) -> dict[str, Any]:
    """A list of these."""
    return {"type": "array", "items": item}


def nullable(item: Any) -> dict[str, Any]:
    """This or null."""
    return {"anyOf": [item, {"type": "null"}]}


INTERVAL = record({"low": NUMBER, "likely": NUMBER, "high": NUMBER})
REASON = record(
    {
        "code": TEXT,
        "severity": {"enum": ["blocker", "warning", "note"]},
        "parameters": {"type": "object"},
        "text": {"type": "string", "minLength": 5},
        "source": nullable(record({"kind": TEXT, "ref": TEXT})),
    }
)
SPEED = record(
    {"ttft_s": INTERVAL, "inter_token_s": INTERVAL, "output_tok_per_s": INTERVAL, "per_user_tok_per_s": INTERVAL}
)
FIX = record(
    {
        "change": {"type": "object"},
        "text": TEXT,
        "plan": record({"verdict": TEXT, "total_bytes": nullable(INTERVAL), "speed": nullable(SPEED)}),
    }
)
ITEM = record({"code": TEXT, "bytes": WHOLE})
DEVICE = record(
    {
        "device": WHOLE,
        "gpu": TEXT,
        "capacity_bytes": WHOLE,
        "usable_bytes": WHOLE,
        "used_bytes": WHOLE,
        "items": listed(ITEM),
    }
)
MEMORY = record(
    {
        "devices": listed(DEVICE),
        "host_bytes": WHOLE,
        "weights_bytes": WHOLE,
        "kv_bytes_per_token": WHOLE,
        "kv_bytes_at_context": WHOLE,
        "kv_capacity_tokens": WHOLE,
        "max_context_tokens": WHOLE,
        "max_concurrency": NUMBER,
        "total_bytes": INTERVAL,
    }
)
SHELLS = record({name: nullable(TEXT) for name in ("bash", "powershell", "cmd", "docker", "compose")})
COMMAND = record(
    {
        "argv": listed(TEXT),
        "env": {"type": "object"},
        "files": listed(record({"path": TEXT, "text": TEXT})),
        "shells": SHELLS,
    }
)
DEPLOYMENT = record(
    {
        "model": TEXT,
        "gpus": listed(record({"gpu": TEXT, "count": WHOLE})),
        "engine": TEXT,
        "engine_version": TEXT,
        "weight_format": TEXT,
        "kv_format": TEXT,
        **dict.fromkeys(("tp", "pp", "ep", "dp", "context_tokens", "offload_layers"), WHOLE),
        "max_num_seqs": nullable(WHOLE),
    }
)
COST = record(
    {
        "usd_per_hour": NUMBER,
        "usd_per_million_output_tokens": nullable(INTERVAL),
        "currency": TEXT,
        "per_hour": NUMBER,
    }
)
PLAN = record(
    {
        "deployment": DEPLOYMENT,
        "verdict": {"enum": ["fits", "does_not_fit", "not_supported", "unknown"]},
        "reasons": listed(REASON),
        "fixes": listed(FIX),
        "memory": nullable(MEMORY),
        "speed": nullable(SPEED),
        "quality": nullable(record({"class": TEXT, "bits_per_weight": NUMBER, "model": {}})),
        "cost": nullable(COST),
        "command": nullable(COMMAND),
        "basis": listed(record({"kind": TEXT, "ref": TEXT})),
    }
)
ANSWER = record(
    {"schema_version": {"const": 1}, "request": {"type": "object"}, "plans": listed(PLAN), "rejected": listed(PLAN)}
)
ESTIMATE = record({"schema_version": {"const": 1}, "request": {"type": "object"}, "plan": PLAN})
SHARE = nullable(NUMBER)
VALIDATE = record(
    {
        "schema_version": {"const": 1},
        "groups": listed(
            record(
                {
                    "kind": TEXT,
                    "metric": TEXT,
                    "cases": WHOLE,
                    "answered": WHOLE,
                    **dict.fromkeys(
                        ("median_abs_pct", "p90_abs_pct", "bias_pct", "right_pct", "inside_interval_pct"), SHARE
                    ),
                }
            )
        ),
        "cases": listed(
            record(
                {
                    "id": TEXT,
                    "kind": TEXT,
                    "metric": TEXT,
                    "predicted": {},
                    "measured": {},
                    "error_pct": SHARE,
                    "unanswered": nullable(REASON),
                }
            )
        ),
    }
)
SCHEMA_ONE = {"const": 1}
NOTES = listed(REASON)
COMPARISON = record(
    {
        "schema_version": SCHEMA_ONE,
        "request": {"type": "object"},
        "variants": listed(
            record({"variant": TEXT, "plan": nullable(PLAN), "reasons": listed(REASON), "notes": NOTES})
        ),
    }
)
CHOICE = record(
    {
        "gpu": TEXT,
        "count": WHOLE,
        "users_within_targets": nullable(WHOLE),
        "usd_per_hour": nullable(NUMBER),
        "list_usd": nullable(NUMBER),
        "plan": PLAN,
    }
)
HARDWARE = record(
    {
        "schema_version": SCHEMA_ONE,
        "request": {"type": "object"},
        "choices": listed(CHOICE),
        "without": listed(TEXT),
        "notes": NOTES,
    }
)
CHECK = record(
    {
        "schema_version": SCHEMA_ONE,
        "ok": {"type": "boolean"},
        "findings": listed(REASON),
        "corrected": nullable(record({"argv": listed(TEXT), "shells": {"type": "object"}})),
        "plan": nullable(PLAN),
        "notes": NOTES,
    }
)
GUIDE = record(
    {
        "schema_version": SCHEMA_ONE,
        "request": {"type": "object"},
        "machine": record(
            {"gpus": listed(record({"gpu": TEXT, "count": WHOLE})), "ram_bytes": nullable(WHOLE), "os": TEXT}
        ),
        "fits": listed({"type": "object"}),
        "setups": listed(record({"purpose": TEXT, "plan": PLAN})),
        "engines": listed({"type": "object"}),
        "notes": NOTES,
    }
)
COSTS = record(
    {
        "schema_version": SCHEMA_ONE,
        "usd_per_hour": NUMBER,
        "currency": TEXT,
        "rows": listed(record({"hours": NUMBER, "usd": NUMBER, "currency": TEXT, "amount": NUMBER})),
        "notes": NOTES,
    }
)
_JOB = {"verdict": {"enum": ["fits", "does_not_fit", "not_supported", "unknown"]}, "model": TEXT}
FINETUNE = record(
    {"schema_version": SCHEMA_ONE, "request": {"type": "object"}, "plan": record({**_JOB, "job": {"type": "object"}})}
)
QUANTIZE = record({"schema_version": SCHEMA_ONE, "request": {"type": "object"}, "plan": record(_JOB)})
CLIENTS = record(
    {
        "schema_version": SCHEMA_ONE,
        "clients": listed(
            record(
                {
                    "name": TEXT,
                    "title": TEXT,
                    "files": listed(record({"path": TEXT, "text": TEXT})),
                    "env": {"type": "object"},
                    "steps": listed(TEXT),
                }
            )
        ),
    }
)
MODELS = record(
    {"schema_version": SCHEMA_ONE, "models": listed(record({"id": TEXT, "family": TEXT, "architecture": TEXT}))}
)
GPUS = record(
    {"schema_version": SCHEMA_ONE, "gpus": listed(record({"id": TEXT, "vendor": TEXT, "memory_bytes": WHOLE}))}
)
ENGINES = record(
    {
        "schema_version": SCHEMA_ONE,
        "engines": listed(record({"id": TEXT, "title": TEXT, "versions": listed(TEXT), "native_os": listed(TEXT)})),
    }
)
CAUSE = record(
    {
        "code": TEXT,
        "engine": nullable(TEXT),
        "confidence": NUMBER,
        "evidence": listed(record({"line": WHOLE, "text": TEXT})),
        "text": TEXT,
        "fixes": listed(record({"text": TEXT})),
    }
)
DIAGNOSIS = record(
    {
        "schema_version": SCHEMA_ONE,
        "causes": listed(CAUSE),
        "predicted_against_allocated": listed({"type": "object"}),
        "plan": nullable(PLAN),
        "notes": NOTES,
    }
)
UNDERSTOOD = record(
    {
        "model": nullable(TEXT),
        "models": listed(TEXT),
        "gpus": listed(record({"gpu": TEXT, "count": WHOLE})),
        "memory_bytes": nullable(WHOLE),
        "engine": nullable(TEXT),
        "context_tokens": nullable(WHOLE),
        "unknown": listed(TEXT),
    }
)
ASKED = record(
    {
        "schema_version": SCHEMA_ONE,
        "question": TEXT,
        "language": {"enum": ["en", "ko"]},
        "kind": TEXT,
        "understood": UNDERSTOOD,
        "assumed": listed(TEXT),
        "verdict": nullable(TEXT),
        "answer": TEXT,
        "plans": listed(PLAN),
        "commands": listed({}),
        "follow_up": listed({}),
    }
)
QUESTIONS = record(
    {
        "schema_version": SCHEMA_ONE,
        "language": TEXT,
        "questions": listed(record({"id": TEXT, "title": TEXT, "question": TEXT, "kind": TEXT, "tags": listed(TEXT)})),
    }
)
INDEX = record({"schema_version": SCHEMA_ONE, "name": TEXT, "version": TEXT, "verbs": listed(TEXT)})
RUNS = record({"schema_version": SCHEMA_ONE, "runs": listed(record({"id": WHOLE, "kind": TEXT, "state": TEXT}))})
RUN = record({"schema_version": SCHEMA_ONE, "id": WHOLE, "kind": TEXT, "state": TEXT})
ERROR = record(
    {
        "schema_version": SCHEMA_ONE,
        "error": record({"kind": {"enum": ["input", "unknown", "world", "refused", "busy", "bug"]}, "text": TEXT}),
    }
)
