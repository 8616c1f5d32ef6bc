"""What a guide is asked for: the hardware, and for what it is meant."""

from fitserve.plan.fields import Amount, Bytes, Text, Texts, Tokens
from fitserve.plan.request import FitRequest, Request, System, Use


class GuideRequest(Request):
    """Hardware alone; without `gpu` it is the machine that this runs on. A price of electricity is never guessed."""

    gpu: Texts = ()
    ram: Bytes | None = None
    os: System | None = None
    context: Tokens | None = None
    use: Use = "chat"
    currency: Text | None = None
    exchange_rate: Texts = ()
    usd_per_kwh: Amount | None = None

    def hardware(self) -> FitRequest:
        """The same hardware as a request about the catalogue."""
        # its values were validated here already
        return FitRequest.model_construct(**self.model_dump(exclude={"usd_per_kwh"}, exclude_defaults=True))
