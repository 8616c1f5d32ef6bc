"""`fitserve models`, `gpus`, `engines`: what is known."""

from typing import Any

from fitserve.cli.output import check_out, write
from fitserve.render.catalogue_forms import engines_form, gpus_form, gpus_found, models_form, models_found
from fitserve.render.catalogues import engines_view, gpus_view, models_view
from fitserve.render.texts import Texts


def run_models(values: dict[str, Any], texts: Texts) -> int:
    """`fitserve models [WORD…]`."""
    check_out(values.get("out"))
    found = models_found(values.get("search") or ())
    write(lambda: models_form(found), models_view(found, texts), bool(values.get("json")), values.get("out"))
    return 0


def run_gpus(values: dict[str, Any], texts: Texts) -> int:
    """`fitserve gpus [WORD…]`."""
    check_out(values.get("out"))
    found = gpus_found(values.get("search") or ())
    write(lambda: gpus_form(found), gpus_view(found, texts), bool(values.get("json")), values.get("out"))
    return 0


def run_engines(values: dict[str, Any], texts: Texts) -> int:
    """`fitserve engines`."""
    check_out(values.get("out"))
    form = engines_form(texts)
    write(lambda: form, engines_view(form["engines"], texts), bool(values.get("json")), values.get("out"))
    return 0
