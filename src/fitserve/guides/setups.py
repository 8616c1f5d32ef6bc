"""Recommended set-ups by purpose: a search over the ranked models of the catalogue, never a list of favourites."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from fitserve.guides.hardware import choices
from fitserve.guides.judge import Rig, catalogue, file_bytes, options, pace_of
from fitserve.guides.types import Setup
from fitserve.models.catalog.lookup import rows
from fitserve.models.types import LanguageModel
from fitserve.predict.model_quality import place, ranked_models, ranking
from fitserve.search.alternatives import is_chat
from fitserve.search.evaluate import Evaluated, quality_class
from fitserve.workload.types import Workload

_RUNNERS_UP = 2
_MOST_TRIED = 60
"""Models looked at for one purpose: enough to reach down to those of a small machine."""
Choose = Callable[[Sequence[Evaluated], float], Evaluated | None]


def setups(rig: Rig) -> tuple[Setup, ...]:
    """Balanced, quality, speed, largest, coding, Korean; a purpose for which nothing qualifies is left out."""
    search = _Search(rig)
    rules = choices()["setups"]
    coding = replace(rig.workload, use="coding", context_tokens=rules["coding_context_tokens"])
    coding = replace(coding, prompt_tokens=None, output_tokens=None)
    found = [
        search.ranked("balanced", "chat", rig.workload, rules["balanced_tok_per_s"]),
        search.ranked("quality", "chat", rig.workload, rules["quality_tok_per_s"]),
        search.fastest(rules["speed_place"]),
        search.largest(),
        search.ranked("coding", "coding", coding, rules["balanced_tok_per_s"]),
        search.ranked("korean", "korean", rig.workload, rules["balanced_tok_per_s"]),
    ]
    return tuple(item for item in found if item is not None)


class _Search:
    """Judges each model once for a workload, whatever purpose asks."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.fewest = float(choices()["setups"]["fewest_bits"])
        self.seen: dict[tuple[str, str, int], list[Evaluated]] = {}

    def options(self, model: LanguageModel, workload: Workload) -> list[Evaluated]:
        """Formats of a model that fit, with their speed; none where the model is shorter than the workload asks."""
        key = (model.id, workload.use, workload.context_tokens)
        if key not in self.seen:
            is_long = model.max_context_tokens >= workload.context_tokens
            self.seen[key] = options(self.rig, model, workload, self.fewest) if is_long else []
        return self.seen[key]

    def ranked(self, name: str, purpose: str, workload: Workload, paces: Sequence[float]) -> Setup | None:
        """The best-placed model of a purpose that keeps a pace; slower paces are tried when none does."""
        models = self._placed(purpose)
        for pace in paces:
            qualified: list[tuple[LanguageModel, Evaluated]] = []
            for model in models:
                fast = [item for item in self.options(model, workload) if pace_of(item) >= pace]
                best = _truest(fast) if name == "quality" else _widest(fast)
                if best is not None:
                    qualified.append((model, best))
                if len(qualified) > _RUNNERS_UP:
                    break
            if qualified:
                return self._setup(name, purpose, qualified, pace)
        return None

    def fastest(self, least_place: float) -> Setup | None:
        """The fastest of the models in the upper part of the ranking."""
        models = [model for model in self._placed("chat") if _surely(model.id, "chat") >= least_place]
        best = [(model, found) for model in models if (found := _fastest(self.options(model, self.rig.workload)))]
        best.sort(key=lambda pair: (-pace_of(pair[1]), pair[0].id))
        return self._setup("speed", "chat", best[: _RUNNERS_UP + 1], None) if best else None

    def largest(self) -> Setup | None:
        """The model with most weights that fits at four bits or more."""
        chats = [row for row in rows().values() if is_chat(row) and row["total_params"]]
        chats.sort(key=lambda row: (-row["total_params"], -_place(row["id"], "chat"), row["id"]))
        found: list[tuple[LanguageModel, Evaluated]] = []
        for row in chats:
            model = catalogue(row["id"])
            best = None if model is None else _widest(self.options(model, self.rig.workload))
            if model is not None and best is not None:
                found.append((model, best))
            if len(found) > _RUNNERS_UP:
                break
        return self._setup("largest", "chat", found, None) if found else None

    def _placed(self, purpose: str) -> list[LanguageModel]:
        """Ranked models, best first, each once."""
        names = dict.fromkeys(name for name, _, _ in ranked_models(purpose))
        known = [name for name in names if name in rows() and is_chat(rows()[name])]
        known.sort(key=lambda name: (-_place(name, purpose), name))
        found = [model for name in known if (model := catalogue(name)) is not None and self._may_fit(model)]
        return found[:_MOST_TRIED]

    def _may_fit(self, model: LanguageModel) -> bool:
        memory = sum(d.memory_bytes for d in self.rig.machine.devices) or (self.rig.machine.host.ram_bytes or 0)
        return model.params("text") * self.fewest / 8 <= memory

    def _setup(
        self, name: str, purpose: str, qualified: Sequence[tuple[LanguageModel, Evaluated]], pace: float | None
    ) -> Setup:
        model, item = qualified[0]
        return Setup(
            purpose=name, item=item, context_tokens=item.deployment.context_tokens, place=place(model.id, purpose),
            ranked=len(ranking(purpose).entries), least_tok_per_s=pace or None,
            file_bytes=file_bytes(model, item.deployment.weight_format),
            next_models=tuple(other.id for other, _ in qualified[1:]),
        )  # fmt: skip


def _place(model_id: str, purpose: str) -> float:
    found = place(model_id, purpose)
    return -1.0 if found is None else found.likely


def _surely(model_id: str, purpose: str) -> float:
    """The lower end of the place."""
    found = place(model_id, purpose)
    return -1.0 if found is None else found.low


def _widest(items: Sequence[Evaluated]) -> Evaluated | None:
    """The format that loses least; of several the faster one. Half-precision gains nothing over 8 bits worth its time."""
    return min(items, key=_widest_key, default=None)


def _widest_key(item: Evaluated) -> tuple[float, ...]:
    found = quality_class(item.deployment.model, item.deployment.weight_format)
    return float(item.has("tight")), float(max(1, found)), -pace_of(item)


def _truest(items: Sequence[Evaluated]) -> Evaluated | None:
    """The format that loses least, the original weights before all others."""
    return min(
        items,
        key=lambda item: (
            item.has("tight"),
            quality_class(item.deployment.model, item.deployment.weight_format),
            -pace_of(item),
        ),
        default=None,
    )


def _fastest(items: Sequence[Evaluated]) -> Evaluated | None:
    return max(items, key=pace_of, default=None)
