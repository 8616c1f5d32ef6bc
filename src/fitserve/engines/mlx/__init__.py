"""MLX LM (`mlx_lm.server`): policy by release, read from the PyPI releases 0.20.1 to 0.32.2."""

from fitserve.engines.contract import Engine
from fitserve.engines.figures import no_given_options, outcome, server_figures
from fitserve.engines.mlx.candidates import candidates, splits
from fitserve.engines.mlx.command import command
from fitserve.engines.mlx.constraints import blockers, kv_formats
from fitserve.engines.mlx.memory import budget, cache_bytes
from fitserve.engines.mlx.rules import PACKAGE, RELEASES, facts
from fitserve.engines.option_lists import option_names
from fitserve.foundation.facts import load_toml

ENGINE = Engine(
    id="mlx",
    package=PACKAGE,
    versions=RELEASES.versions,
    native_os=tuple(facts()["identity"]["native_os"]),
    facts=facts(),
    status=load_toml(PACKAGE, "status.toml"),
    candidates=candidates,
    splits=splits,
    blockers=blockers,
    budget=budget,
    command=command,
    kv_formats=kv_formats,
    log_figures=server_figures,
    given_options=no_given_options,
    outcome=outcome,
    cache_bytes=cache_bytes,
    known_options=lambda version: option_names(PACKAGE, RELEASES.nearest(version)),
    parse_version=RELEASES.normal,
    is_newer=RELEASES.is_newer,
    needs_accelerator=True,
)
