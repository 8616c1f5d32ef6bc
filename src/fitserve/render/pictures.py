"""What is drawn: a server as its users become more, and plans between speed and quality."""

from collections.abc import Sequence

from rich.console import RenderableType
from rich.text import Text

from fitserve.predict.types import Speed
from fitserve.render.human import count_text
from fitserve.render.plots import Beside, Plot
from fitserve.render.speed_text import rate_text, seconds_text
from fitserve.render.texts import Texts
from fitserve.search.evaluate import Evaluated
from fitserve.search.front import merits

_FEWEST_POINTS = 3
_FEWEST_ON_FRONT = 2
_LEAST_LOSS = 0.05
"""Percent of a score; less is not told apart from none."""


def load_picture(curve: Sequence[tuple[int, Speed]], texts: Texts) -> list[RenderableType]:
    """Tokens a second of all users, and the time to the first token, over the number of users."""
    if len(curve) < _FEWEST_POINTS:
        return []
    users = texts.label("users_axis")
    all_users = Plot(
        title=texts.label("all_users_plot"), points=tuple((float(n), speed.output_tok_per_s.likely) for n, speed in curve),
        x_text=lambda value: count_text(round(value)), y_text=rate_text, x_title=users, log_x=True,
    )  # fmt: skip
    first = Plot(
        title=texts.label("first_token_plot"), points=tuple((float(n), speed.ttft_s.likely) for n, speed in curve),
        x_text=lambda value: count_text(round(value)), y_text=seconds_text, x_title=users, log_x=True, log_y=True,
    )  # fmt: skip
    return [Beside((all_users, first)), Text("")]


def front_picture(plans: Sequence[Evaluated], texts: Texts) -> list[RenderableType]:
    """Plans by their rank, between the speed of one user and what their format loses; the Pareto front stands out.

    Nothing where fewer than two plans are on the front: then nothing is weighed.
    """
    known = [(rank, item, found) for rank, item in enumerate(plans, start=1) if (found := merits(item)) is not None]
    front = [rank for rank, item, _ in known if item.is_on_front]
    # equal steps for equal ratios of the loss: a tenth of a percent is told apart from a whole one
    points = tuple((found[0], 1 / max(_LEAST_LOSS, 100 - found[2])) for _, _, found in known)
    if len(front) < _FEWEST_ON_FRONT or len({*points}) < _FEWEST_POINTS:
        return []
    plot = Plot(
        title=texts.label("front_plot", front=", ".join(map(str, front))), points=points, x_title=texts.label("per_user_axis"),
        x_text=rate_text, y_text=lambda value: f"{-1 / value:.2g} %", labels=tuple(str(rank) for rank, _, _ in known),
        faint=frozenset(index for index, (_, item, _) in enumerate(known) if not item.is_on_front), log_x=True, log_y=True,
    )  # fmt: skip
    return [plot, Text("")]
