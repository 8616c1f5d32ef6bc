"""Model facts: from `facts/models.json` and `facts/aliases.json` to the package's catalogue.

Each config is read by fitserve's own architecture code and its parameter count compared with the row's total; a row
whose count differs is reported, and fails the import unless `tools/count_exceptions.toml` names it with a reason.
"""

import json
import tomllib
from pathlib import Path
from typing import Any

from fitserve.foundation.errors import FitserveError
from fitserve.models.architectures.registry import model_from_config
from fitserve.models.counts import checkpoint_params

HERE = Path(__file__).parent

# Fields of a config that no memory or support question depends on: training, generation and label settings.
NOISE = {
    "initializer_range", "attention_dropout", "bos_token_id", "eos_token_id", "pad_token_id", "use_cache",
    "transformers_version", "label2id", "add_cross_attention", "chunk_size_feed_forward", "diversity_penalty",
    "do_sample", "early_stopping", "encoder_no_repeat_ngram_size", "is_decoder", "is_encoder_decoder",
    "no_repeat_ngram_size", "num_beam_groups", "num_beams", "num_return_sequences", "output_attentions",
    "output_hidden_states", "output_scores", "output_router_logits", "pruned_heads", "remove_invalid_values",
    "repetition_penalty", "return_dict_in_generate", "tf_legacy_loss", "tie_encoder_decoder", "use_bfloat16",
    "router_aux_loss_coef", "aux_loss_alpha", "layer_rope_theta", "hidden_act", "hidden_activation",
}  # fmt: skip

KEPT = (
    "id", "family", "licence", "gated", "release_date", "total_params", "total_params_exactness", "active_params",
    "card_params", "mtp_layers", "quantized_from", "tags", "doubt", "checked",
)  # fmt: skip


def _clean(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _clean(v) for k, v in value.items() if k not in NOISE and v is not None}
    return value


def _corrected(
    row: dict[str, Any], rows: dict[str, dict[str, Any]], corrections: dict[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    config = json.loads(json.dumps(row["config"]))
    config.setdefault("architectures", [row["architecture"]])
    if row["quantization_config"] is not None:
        config["quantization_config"] = row["quantization_config"]
    target = config.get("text_config", config)
    notes = []
    for item in corrections["models"]:
        if row["id"] in item["ids"]:
            target.update(item.get("set", {}))
            if copy := item.get("copy_config_field"):
                target[copy["field"]] = rows[copy["from"]]["config"][copy["field"]]
            notes.append(f"{item['why']} ({item['source']})")
    for item in corrections["complete"]:
        structure = row["structure"] or {}
        if row["architecture"] == item["architecture"] and all(structure.get(k) == v for k, v in item["when"].items()):
            for key, value in item["set"].items():
                target.setdefault(key, value)
    return config, notes


def convert(shared: Path) -> tuple[list[dict[str, Any]], dict[str, str], list[str]]:
    """Rows of the catalogue, the alias map, and a report of what does not add up."""
    source = json.loads((shared / "facts/models.json").read_text())
    rows = {row["id"]: row for row in source["rows"]}
    for row in source["rows"]:  # the file says how many MTP layers there are; some configs leave the field out
        target = row["config"].get("text_config", row["config"])
        if row["mtp_layers"] and not {"num_nextn_predict_layers", "mtp_num_hidden_layers"} & set(target):
            target["num_nextn_predict_layers"] = row["mtp_layers"]
    corrections = tomllib.loads((HERE / "corrections.toml").read_text())
    for item in corrections["totals"]:
        rows[item["id"]]["total_params"] = item["total_params"]
    exceptions = tomllib.loads((HERE / "count_exceptions.toml").read_text())["differences"]
    report: list[str] = []
    out = [_convert_row(row, rows, corrections, exceptions, report) for row in source["rows"]]
    aliases = {row["alias"]: row["id"] for row in json.loads((shared / "facts/aliases.json").read_text())["rows"]}
    missing = sorted({target for target in aliases.values() if target not in rows})
    report += [f"alias target missing: {target}" for target in missing]
    return out, aliases, report


def _convert_row(
    row: dict[str, Any],
    rows: dict[str, Any],
    corrections: dict[str, Any],
    exceptions: dict[str, Any],
    report: list[str],
) -> dict[str, Any]:
    config, notes = _corrected(row, rows, corrections)
    result = {key: row[key] for key in KEPT}
    result["sources"] = row["sources"] or ["the table's refs"]
    result["corrections"] = notes
    added = [item for item in corrections["tags"] if row["id"] in item["ids"]]
    result["tags"] = [*(result["tags"] or []), *(tag for item in added for tag in item["add"])]
    result["recalled"] = sorted({*row["fields_recalled"], *(["release_date"] if row["release_date_recalled"] else [])})
    base = rows[row["quantized_from"]] if row["quantized_from"] else row
    result["mtp_params"], result["vision_params"] = row["mtp_params"] or 0, row["vision_params"] or 0
    try:
        model = model_from_config(config, row["id"], row["id"])
    except (FitserveError, ValueError) as error:
        report.append(f"{row['id']}: {error}")
        result["count"] = "not read"
    else:
        _count(result, checkpoint_params(model), base, exceptions, report)
    result["config"] = _clean(config)
    return result


def _count(
    result: dict[str, Any], text: int, base: dict[str, Any], exceptions: dict[str, Any], report: list[str]
) -> None:
    """Compares our count with the row's total; what the text model leaves of a published total is the vision tower."""
    total = base["total_params"]
    if total is None:
        result["count"] = "no total to compare with"
        return
    rest = total - text - result["mtp_params"]
    if "ForConditionalGeneration" in base["architecture"] and (
        base["vision_params"] is None or base["text_params"] != text
    ):
        result["vision_params"] = max(rest, 0)
        result["count"] = "vision tower taken as the rest of the total"
        return
    difference = rest - result["vision_params"]
    result["count"] = "equal" if difference == 0 else f"total exceeds ours by {difference}"
    if difference and exceptions.get(base["id"], {}).get("difference") != difference:
        report.append(f"{result['id']}: total exceeds our count by {difference}")


def _changed(config: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A config with fields replaced, in its text part when it has one."""
    if "text_config" in config:
        return {**config, "text_config": {**config["text_config"], **changes}}
    return {**config, **changes}


def extra_models(rows: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, str], list[str]]:
    """Models of `tools/extra_models.toml`, their aliases, and a report of counts that do not add up."""
    known = {row["id"]: row for row in rows}
    out: list[dict[str, Any]] = []
    aliases: dict[str, str] = {}
    report: list[str] = []
    for item in tomllib.loads((HERE / "extra_models.toml").read_text())["models"]:
        base = known[item["same_as"]] if "same_as" in item else {}
        row = {
            **dict.fromkeys(KEPT), "doubt": [], "tags": [], "gated": False, "corrections": [], "recalled": ["config"],
            "total_params_exactness": "recalled", "mtp_params": 0, "vision_params": 0, "checked": "2026-11-20", **base,
        }  # fmt: skip
        row |= {key: value for key, value in item.items() if key in KEPT or key == "config"}
        row["config"] = _changed(row["config"], item.get("changes", {}))
        row["sources"] = item.get("sources", ["config of the repository, recalled"]) + [
            f"evidence {ref}" for ref in item.get("confirmed_by", [])
        ]
        model = model_from_config(row["config"], row["id"], row["id"])
        if row["total_params"] == 0:  # no total is published: ours stands for it
            row |= {"total_params": checkpoint_params(model), "total_params_exactness": "counted"}
        rest = (row["total_params"] or checkpoint_params(model)) - checkpoint_params(model)
        row["count"] = (
            "no total to compare with"
            if row["total_params"] is None
            else "equal"
            if rest == 0
            else f"total exceeds ours by {rest}"
        )
        if row["config"].get("vision_config"):
            row["vision_params"], row["count"] = rest, "vision tower taken as the rest of the total"
        elif rest:
            report.append(f"{row['id']}: total exceeds our count by {rest}")
        known[row["id"]] = row
        out.append(row)
        aliases |= dict.fromkeys(
            [row["id"].lower(), row["id"].split("/")[1].lower(), *item.get("aliases", [])], row["id"]
        )
    return out, aliases, report
