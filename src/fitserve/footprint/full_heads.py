"""Cache of engines that store what latent attention decompresses: keys and values of every head."""

from fitserve.footprint.kv_cache import cache_reach, kv_elements_per_token
from fitserve.models.types import CompressedAttention, LanguageModel, LatentAttention, Mixer


def mixer_elements(mixer: Mixer, latent: bool) -> int:
    """Elements that one token adds in one layer; `latent`: the compressed vector is kept, not the heads."""
    if isinstance(mixer, LatentAttention) and not latent:
        return mixer.query_heads * (mixer.nope_dim + mixer.rope_dim + mixer.value_dim)
    return kv_elements_per_token(mixer)


def token_elements(model: LanguageModel, layers: range, latent: bool) -> int:
    """Elements that one more token adds in these layers while it is inside every window."""
    return sum(mixer_elements(mixer, latent) for index in layers for mixer in model.layers[index].mixers)


def request_elements(model: LanguageModel, layers: range, tokens: int, latent: bool, keeps_windows: bool) -> int:
    """Elements of one sequence in these layers; `keeps_windows`: layers with a window drop what lies outside it."""
    total = 0
    for index in layers:
        for mixer in model.layers[index].mixers:
            reach = cache_reach(mixer) if keeps_windows else None
            held = tokens if reach is None else min(tokens, reach)
            if isinstance(mixer, CompressedAttention) and mixer.ratio:
                held = min(tokens, mixer.window_tokens) + tokens // mixer.ratio
            total += held * mixer_elements(mixer, latent)
    return total
