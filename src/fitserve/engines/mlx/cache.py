"""Bytes of mlx-lm's caches: KVCache grows in steps, RotatingKVCache keeps a window (mlx_lm/models/cache.py)."""

from fitserve.engines.contract import Deployment
from fitserve.engines.mlx.rules import architectures, feature
from fitserve.engines.releases import at_least
from fitserve.footprint.full_heads import request_elements, token_elements
from fitserve.footprint.ranks import rank_state_bytes
from fitserve.foundation.units import round_up

_PLAIN_BYTES = 2.0


def element_bytes(kv_format: str) -> float:
    """Bytes of a cache element with its share of scale and bias."""
    widths = feature("quantized_cache")
    if kv_format not in {"int8", "int4"}:
        return _PLAIN_BYTES
    return float((widths[kv_format] + widths["scale_bits"] / widths["group"]) / 8)


def _mark(deployment: Deployment, name: str) -> bool:
    return bool(architectures().get(deployment.model.model_type, {}).get(name))


def _keeps_latent(deployment: Deployment) -> bool:
    return _mark(deployment, "latent_cache") and at_least(deployment.engine_version, feature("latent_cache_from"))


def request_bytes(deployment: Deployment, tokens: int) -> int:
    """Cache of one request of so many tokens, states apart."""
    model = deployment.model
    held = round_up(tokens, feature("cache_step_tokens"))
    layers = range(len(model.layers))
    elements = request_elements(model, layers, held, _keeps_latent(deployment), _mark(deployment, "window_cache"))
    return round(elements * element_bytes(deployment.kv_format))


def token_bytes(deployment: Deployment) -> float:
    """What one more token adds inside every window."""
    layers = range(len(deployment.model.layers))
    elements = token_elements(deployment.model, layers, _keeps_latent(deployment))
    return elements * element_bytes(deployment.kv_format)


def state_bytes(deployment: Deployment) -> int:
    """Recurrent state of one request."""
    return rank_state_bytes(deployment.model)


def has_windows(deployment: Deployment) -> bool:
    """Whether some layers get a RotatingKVCache, which cannot be quantized."""
    reach = [
        mixer for layer in deployment.model.layers for mixer in layer.mixers if getattr(mixer, "window_tokens", None)
    ]
    return bool(reach) and _mark(deployment, "window_cache")
