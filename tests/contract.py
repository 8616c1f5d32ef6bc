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
