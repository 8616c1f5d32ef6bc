"""The JSON of CONTRACT as a schema, as the REST interface publishes it."""

from fitserve.api.schemas.contract import ANSWER, ESTIMATE, PLAN, REASON, VALIDATE

__all__ = ["ANSWER", "ESTIMATE", "PLAN", "REASON", "VALIDATE"]
