"""Quality of a plan as JSON: what its format keeps, and the place of its model for the purpose with every figure behind it."""

from typing import Any

from fitserve.plan.answer import purpose_of
from fitserve.predict.format_quality import format_quality
from fitserve.predict.model_quality import model_quality
from fitserve.render.forms import interval_form
from fitserve.search.evaluate import Evaluated, quality_class, quality_classes


def quality_form(item: Evaluated, use: str) -> dict[str, Any]:
    """Class and bits of the weight format, its loss, and the rank of the model for a use."""
    deployment = item.deployment
    name, _ = quality_classes()[quality_class(deployment.model, deployment.weight_format)]
    form: dict[str, Any] = {
        "class": name,
        "bits_per_weight": round(deployment.weight_format.effective_bits(), 3),
        "score_kept_pct": None, "kl_divergence": None, "format_basis": None,
    }  # fmt: skip
    found = format_quality(deployment.weight_format, deployment.model)
    if found is not None:
        form |= {
            "score_kept_pct": interval_form(found.score_kept_pct, digits=4),
            "kl_divergence": interval_form(found.kl_divergence, digits=4),
            "format_basis": found.way,
        }
    return form | {"model": _model_form(deployment.model.base_id or deployment.model.id, purpose_of(use))}


def _model_form(model_id: str, purpose: str) -> dict[str, Any] | None:
    """The place among published figures, never without its parts; None for a model that no table links."""
    found = model_quality(model_id, purpose)
    if found is None:
        return None
    return {
        "purpose": found.purpose,
        "percentile": interval_form(found.percentile, digits=3),
        "runs": found.runs, "ranked": found.ranked, "figures": found.count, "makers_own": found.makers_own,
        "parts": [
            {
                "benchmark": part.benchmark, "setting": part.setting, "value": part.value, "unit": part.unit,
                "percentile": part.percentile, "compared_with": part.compared_with, "weight": part.weight,
                "reporter": part.reporter, "reporter_kind": part.reporter_kind, "source": part.source, "date": part.date,
            }
            for part in found.parts
        ],
    }  # fmt: skip
