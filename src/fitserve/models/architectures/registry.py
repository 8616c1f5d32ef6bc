"""Which function reads which Hugging Face class. A class that is not listed is unknown, never guessed."""

from collections.abc import Callable, Mapping
from typing import Any

from fitserve.foundation.errors import FactMissing, InputError
from fitserve.models.architectures import decoders as d
from fitserve.models.architectures import hybrids as h
from fitserve.models.architectures import latent as la
from fitserve.models.architectures import more_decoders as m
from fitserve.models.architectures import windows as w
from fitserve.models.architectures.blueprint import Blueprint, assemble
from fitserve.models.architectures.config import Config
from fitserve.models.types import LanguageModel, TensorGroup


def _mistral3(config: Config) -> Blueprint:
    """One class name serves Mistral Small 3.x (grouped-query) and Mistral Small 4 (latent attention)."""
    return la.mistral4(config) if config.has("kv_lora_rank") else d.mistral3(config)


FAMILIES: Mapping[str, Callable[[Config], Blueprint]] = {
    "AXK1ForCausalLM": la.axk1,
    "ApertusForCausalLM": m.apertus,
    "Cohere2ForCausalLM": d.cohere2,
    "CohereForCausalLM": d.command_r,
    "DbrxForCausalLM": m.dbrx,
    "DeciLMForCausalLM": m.deci,
    "DeepseekV2ForCausalLM": la.deepseek_v2,
    "DeepseekV32ForCausalLM": la.deepseek_v32,
    "DeepseekV3ForCausalLM": la.deepseek_v3,
    "DeepseekV4ForCausalLM": la.deepseek_v4,
    "Ernie4_5ForCausalLM": m.ernie,
    "Ernie4_5_MoeForCausalLM": m.ernie_moe,
    "Exaone4ForCausalLM": d.exaone4,
    "Exaone4_5_ForConditionalGeneration": d.exaone4,
    "ExaoneForCausalLM": d.exaone,
    "ExaoneMoEForCausalLM": d.exaone_moe,
    "FalconForCausalLM": m.falcon,
    "FalconH1ForCausalLM": h.falcon_h1,
    "Gemma2ForCausalLM": w.gemma2,
    "Gemma3ForCausalLM": w.gemma3,
    "Gemma3ForConditionalGeneration": w.gemma3,
    "Gemma3nForConditionalGeneration": w.gemma3n,
    "Gemma4ForConditionalGeneration": w.gemma4,
    "Gemma4ForCausalLM": w.gemma4,
    "Gemma4UnifiedForConditionalGeneration": w.gemma4,
    "GemmaForCausalLM": w.gemma,
    "Glm4ForCausalLM": d.glm4,
    "Glm4MoeForCausalLM": d.glm4_moe,
    "Glm4MoeLiteForCausalLM": la.glm4_moe_lite,
    "GlmForCausalLM": d.glm,
    "GlmMoeDsaForCausalLM": la.glm_dsa,
    "GptOssForCausalLM": d.gpt_oss,
    "GraniteForCausalLM": d.granite,
    "GraniteMoeHybridForCausalLM": h.granite_hybrid,
    "HCXVisionV2ForCausalLM": d.hyperclovax,
    "HYV3ForCausalLM": m.hy3,
    "HunYuanDenseV1ForCausalLM": m.hunyuan_dense,
    "HunYuanMoEV1ForCausalLM": m.hunyuan_moe,
    "HyperCLOVAXForCausalLM": d.hyperclovax,
    "InternLM2ForCausalLM": m.internlm2,
    "JambaForCausalLM": h.jamba,
    "KimiK25ForConditionalGeneration": la.deepseek_v3,
    "KimiVLForConditionalGeneration": la.deepseek_v3,
    "KimiK3ForConditionalGeneration": h.kimi_k3,
    "KimiLinearForCausalLM": h.kimi_linear,
    "LagunaForCausalLM": w.laguna,
    "Lfm2ForCausalLM": h.lfm2,
    "Lfm2MoeForCausalLM": h.lfm2,
    "Llama4ForConditionalGeneration": w.llama4,
    "Llama4ForCausalLM": w.llama4,
    "LlamaForCausalLM": d.llama,
    "LlavaNextForConditionalGeneration": d.granite,
    "Mamba2ForCausalLM": h.mamba2,
    "MambaForCausalLM": h.mamba,
    "MiMoForCausalLM": d.mimo,
    "MiMoV2FlashForCausalLM": w.mimo_v2,
    "MiniMaxM1ForCausalLM": h.minimax_text,
    "MiniMaxM2ForCausalLM": d.minimax_m2,
    "MiniMaxM3ForCausalLM": d.minimax_m3,
    "MiniMaxM3SparseForCausalLM": d.minimax_m3,
    "MiniMaxM3SparseForConditionalGeneration": d.minimax_m3,
    "MiniMaxText01ForCausalLM": h.minimax_text,
    "Ministral3ForCausalLM": d.mistral3,
    "Mistral3ForConditionalGeneration": _mistral3,
    "MistralForCausalLM": d.llama,
    "MixtralForCausalLM": d.mixtral,
    "MllamaForConditionalGeneration": d.mllama,
    "MuseGlimmerForConditionalGeneration": w.muse_glimmer,
    "NemotronHForCausalLM": h.nemotron_h,
    "Olmo2ForCausalLM": m.olmo2,
    "Olmo3ForCausalLM": m.olmo2,
    "OlmoeForCausalLM": m.olmoe,
    "Phi3ForCausalLM": d.phi3,
    "PhiForCausalLM": d.phi,
    "PhimoeForCausalLM": d.phi_moe,
    "PhiMoEForCausalLM": d.phi_moe,
    "QWenLMHeadModel": m.qwen,
    "Qwen2ForCausalLM": d.qwen2,
    "Qwen2MoeForCausalLM": d.qwen2_moe,
    "Qwen2VLForConditionalGeneration": d.qwen2,
    "Qwen2_5_VLForConditionalGeneration": d.qwen2,
    "Qwen3ForCausalLM": d.qwen3,
    "Qwen3MoeForCausalLM": d.qwen3_moe,
    "Qwen3NextForCausalLM": h.qwen3_next,
    "Qwen3VLForConditionalGeneration": d.qwen3,
    "Qwen3VLMoeForConditionalGeneration": d.qwen3_moe,
    "Qwen3_5ForCausalLM": h.qwen35,
    "Qwen3_5ForConditionalGeneration": h.qwen35,
    "Qwen3_5MoeForCausalLM": h.qwen35_moe,
    "Qwen3_5MoeForConditionalGeneration": h.qwen35_moe,
    "SeedOssForCausalLM": d.seed_oss,
    "SmolLM3ForCausalLM": m.smollm3,
    "SolarForCausalLM": d.solar,
    "SolarOpenForCausalLM": d.solar_open,
    "Starcoder2ForCausalLM": m.starcoder2,
    "Step3p7FlashForCausalLM": w.step3,
}


class UnknownArchitecture(FactMissing):
    """The model's class is not among the known families, so its layers cannot be derived."""

    def __init__(self, architecture: str) -> None:
        super().__init__(f"the layout of {architecture}", "src/fitserve/models/architectures/registry.py")
        self.architecture = architecture


def architecture_of(data: Mapping[str, Any], where: str) -> str:
    """The class that a config names first; raises InputError when it names none."""
    names = data.get("architectures")
    if not isinstance(names, list) or not names or not isinstance(names[0], str):
        raise InputError.of("config_field_missing", field="architectures", where=where)
    return names[0]


def model_from_config(
    data: Mapping[str, Any], model_id: str, where: str, others: tuple[TensorGroup, ...] = ()
) -> LanguageModel:
    """The model that a config.json describes. Raises InputError (broken config) or UnknownArchitecture."""
    name = architecture_of(data, where)
    family = FAMILIES.get(name)
    if family is None:
        raise UnknownArchitecture(name)
    config = Config(data, where)
    return assemble(family(config), config, model_id, others)
