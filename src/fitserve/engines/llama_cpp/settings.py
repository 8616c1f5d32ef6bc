"""The settings that a llama-server ends up with: what the deployment asks for, the command's own choices for the rest."""

from collections.abc import Mapping
from dataclasses import dataclass

from fitserve.engines.contract import Deployment
from fitserve.foundation.errors import InputError
from fitserve.foundation.units import ceil_div, round_up

CELL_MULTIPLE = 256  # llama-context.cpp pads n_ctx to this
DEFAULT_MICRO_BATCH = 512
DEFAULT_BATCH = 2048


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """Resolved settings of one server. `context_tokens` is that of the whole cache (-c), over all slots."""

    context_tokens: int
    slots: int
    unified: bool
    micro_batch_tokens: int
    batch_tokens: int
    flash_attention: bool
    key_format: str
    value_format: str
    full_window_cache: bool
    repack: bool

    @property
    def streams(self) -> int:
        """Separate caches: one a slot, a single one when unified."""
        return 1 if self.unified else self.slots

    @property
    def cells(self) -> int:
        """Cells of one stream."""
        total = round_up(self.context_tokens, CELL_MULTIPLE)
        return total if self.unified else round_up(ceil_div(total, self.slots), CELL_MULTIPLE)

    def window_cells(self, window_tokens: int) -> int:
        """Cells of one stream in a sliding layer: the window (once a slot when unified) and a micro-batch."""
        if self.full_window_cache:
            return self.cells
        held = window_tokens * (self.slots if self.unified else 1) + self.micro_batch_tokens
        return round_up(min(self.cells, held), CELL_MULTIPLE)


def _whole(options: Mapping[str, str], names: tuple[str, ...], default: int) -> int:
    for name in names:
        if name in options:
            try:
                value = int(options[name])
            except ValueError as error:
                raise InputError.of("option_wrong", option=f"--{name}", value=options[name]) from error
            if value < 1:
                raise InputError.of("option_wrong", option=f"--{name}", value=options[name])
            return value
    return default


def _on(options: Mapping[str, str], names: tuple[str, ...], default: bool) -> bool:
    for name in names:
        if name in options:
            return options[name].strip().lower() not in {"off", "false", "0", "no"}
    return default


def resolve(deployment: Deployment) -> ServerSettings:
    """Settings of the server; the command gives every slot the full context."""
    options = deployment.options
    slots = _whole(options, ("parallel", "np"), max(1, deployment.max_num_seqs or deployment.concurrent_requests))
    key = options.get("cache-type-k", options.get("ctk", _kv_type(deployment.kv_format)))
    value = options.get("cache-type-v", options.get("ctv", _kv_type(deployment.kv_format)))
    unified = _on(options, ("kv-unified", "kvu"), False) and "no-kv-unified" not in options
    total = _whole(options, ("ctx-size", "c"), deployment.context_tokens * slots)
    return ServerSettings(
        context_tokens=total,
        slots=slots,
        unified=unified,
        micro_batch_tokens=min(_whole(options, ("ubatch-size", "ub"), DEFAULT_MICRO_BATCH), total),
        batch_tokens=_whole(options, ("batch-size", "b"), DEFAULT_BATCH),
        flash_attention=_on(options, ("flash-attn", "fa"), True),
        key_format=key,
        value_format=value,
        full_window_cache=_on(options, ("swa-full",), False),
        repack=_on(options, ("repack",), True) and "no-repack" not in options,
    )


def _kv_type(kv_format: str) -> str:
    return "f16" if kv_format == "auto" else kv_format.lower()
