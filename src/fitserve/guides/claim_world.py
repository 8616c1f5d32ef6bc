"""What claims are held against: the hardware as a whole and one device of it, with the tables of the guide."""

from collections.abc import Mapping
from dataclasses import dataclass

from fitserve.engines.registry import engine
from fitserve.foundation.reasons import Parameter
from fitserve.guides.judge import Rig, catalogue, format_of, judge
from fitserve.guides.types import Claim, DeviceProfile, FitTable
from fitserve.models.types import LanguageModel
from fitserve.search.evaluate import Evaluated


@dataclass(frozen=True, slots=True, kw_only=True)
class ClaimWorld:
    """`rig` is the whole machine, `one` its largest device alone; `tables` what fits on the parts, the whole last."""

    rig: Rig
    one: Rig
    profiles: tuple[DeviceProfile, ...]
    tables: tuple[FitTable, ...]
    comparison: Evaluated | None

    def part(self, on: str) -> Rig:
        """One device, or all."""
        return self.one if on == "one" else self.rig

    def table(self, on: str) -> FitTable:
        """What fits on one device, or on all."""
        return self.tables[0] if on == "one" else self.tables[-1]

    def judged(self, on: str, model_id: str, format_name: str, engine_id: str = "llama.cpp") -> Evaluated | None:
        """A model in a format on a part; None where the engine or the model is not there."""
        rig, model = self.part(on), catalogue(model_id)
        state = rig.support.get(engine_id)
        if model is None or state is None:
            return None
        return judge(rig, model, (engine(engine_id), str(state.version)), format_of(format_name), uses_all=on == "all")


def make(code: str, parameters: Mapping[str, Parameter], says: str | None = None) -> Claim:
    """A claim whose text and whose answer share their parameters."""
    return Claim(id=code, says=says or code, code=code, parameters=tuple(parameters.items()))


def short_name(model_id: str) -> str:
    """The name without its publisher."""
    return model_id.rpartition("/")[2]


def gigabytes(size: float) -> str:
    """`42.5 GB`, decimal, as files are listed."""
    return f"{size / 1e9:,.1f} GB"


def billions(params: float) -> str:
    """`70B`; below ten one place."""
    return f"{params / 1e9:,.0f}B" if params >= 10e9 else f"{params / 1e9:,.1f}B"


def plain_format(name: str) -> str:
    """`Q4_K_M` of `gguf:Q4_K_M`."""
    return name.removeprefix("gguf:")


def model_named(model_id: str) -> LanguageModel | None:
    """A model of the catalogue."""
    return catalogue(model_id)
