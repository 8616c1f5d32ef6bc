"""The request of `cost`. Money and hours are decimals, as they were written."""

from decimal import Decimal

from pydantic import Field

from fitserve.plan.fields import Amount, AmountOrZero, Amounts, Factor, Share, Spread, Text, Texts, Tokens
from fitserve.plan.request import Request


class CostRequest(Request):
    """A price an hour, or GPUs that have one, or own hardware; and what is to be known of it."""

    usd_per_hour: Amount | None = None
    gpu: Texts = Field(default=(), description="gpu_priced")
    hours: Amounts = ()
    currency: Text | None = None
    exchange_rate: Texts = ()
    provider: Text | None = None
    tier: Text | None = None
    prices: Text | None = None
    output_tok_per_s: Spread | None = None
    input_tok_per_s: Spread | None = None
    utilization: Share = Decimal(1)
    hardware_usd: Amount | None = None
    years: Amount | None = None
    watts: Amount | None = None
    usd_per_kwh: AmountOrZero | None = None
    load: Share = Decimal(1)
    pue: Factor = Decimal(1)
    hours_per_month: Amount | None = None
    api_usd_per_million: Amount | None = None
    api_usd_per_million_input: Amount | None = None
    prompt_tokens: Tokens | None = None
    output_tokens: Tokens | None = None
