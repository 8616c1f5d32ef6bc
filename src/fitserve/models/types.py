"""A language model as engines see it: layers with their mixers, and the tensors that hold the weights.

Shapes are written as GGML writes them: the first number is the row length (input features), then rows (output
features), then experts.
"""

import math
from dataclasses import dataclass, field
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class Attention:
    """Softmax attention with a growing KV cache (multi-head, grouped-query, multi-query)."""

    query_heads: int
    kv_heads: int
    key_dim: int
    value_dim: int
    window_tokens: int | None = None
    """Sliding window: a token sees this many tokens, itself included."""
    chunk_tokens: int | None = None
    """Chunked-local attention (Llama 4): a token sees its own chunk only."""
    shares_kv: bool = False
    """Reads the cache of an earlier layer and owns none; its key and value projections are stored all the same."""
    value_is_key: bool = False
    """No value projection: the value is the key before its norm and rotation (Gemma 4)."""
    crosses_to_vision: bool = False
    """Attends to image features, not to earlier tokens (Llama 3.2 Vision)."""
    qkv_bias: bool = False
    output_bias: bool = False
    qk_norm: str = "none"
    """none, head (one weight a head dimension), or full (one a projection output)."""
    sinks: bool = False
    gate: str = "none"
    """none, fused (doubles the query projection), separate, or head (one value a head)."""
    fused_qkv: bool = False
    """Stored as one tensor, which decides its GGUF type."""
    index_dim: int = 0
    """Width of the key of a block indexer that chooses what is attended to (MiniMax-M3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Indexer:
    """Lightning indexer of sparse attention (DeepSeek-V3.2): picks `top_k` tokens, keeps one key a token."""

    heads: int
    head_dim: int
    top_k: int


@dataclass(frozen=True, slots=True, kw_only=True)
class LatentAttention:
    """Multi-head latent attention: the cache holds one compressed vector and one rotary key per token."""

    query_heads: int
    q_lora_rank: int | None
    kv_lora_rank: int
    nope_dim: int
    rope_dim: int
    value_dim: int
    indexer: Indexer | None = None
    shares_index: bool = False
    """Uses the token choice of an earlier layer, so keeps no index keys of its own (GLM-5.2)."""
    gate: bool = False

    @property
    def cache_width(self) -> int:
        """Elements a token keeps in one layer."""
        return self.kv_lora_rank + self.rope_dim


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressedAttention:
    """DeepSeek-V4 attention: a window of full tokens plus, for ratio > 0, keys compressed `ratio` to one."""

    query_heads: int
    head_dim: int
    rope_dim: int
    q_lora_rank: int
    o_lora_rank: int
    o_groups: int
    window_tokens: int
    ratio: int
    indexer: Indexer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class LinearAttention:
    """Attention with a state of fixed size per sequence. `kind`: gated_delta (GDN), kda, or lightning."""

    kind: str
    key_heads: int
    value_heads: int
    key_dim: int
    value_dim: int
    conv_kernel: int
    full_rank_gate: bool = False
    """KDA only: the output gate is one matrix, not two of low rank (Kimi K3)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StateSpace:
    """Mamba: `generation` 1 or 2; `inner` channels, `state` numbers a channel, `groups` and `heads` of Mamba-2."""

    generation: int
    inner: int
    state: int
    conv_kernel: int
    groups: int = 0
    heads: int = 0
    dt_rank: int = 0
    gated_norm: bool = True
    """Mamba-2 only: a norm before the output projection."""
    inner_norms: bool = False
    """Mamba-1 only: norms on dt, B and C (Jamba)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShortConvolution:
    """LFM2: a gated convolution over the last `kernel` tokens."""

    kernel: int
    channels: int


Mixer: TypeAlias = Attention | LatentAttention | CompressedAttention | LinearAttention | StateSpace | ShortConvolution


@dataclass(frozen=True, slots=True, kw_only=True)
class DenseMlp:
    """A feed-forward block; gated ones have three matrices, others two."""

    width: int
    gated: bool = True
    bias: bool = False
    fused_gate_up: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Experts:
    """A mixture of experts: `used` of `count` run for a token, plus a shared expert of `shared_width`."""

    count: int
    used: int
    width: int
    shared_width: int = 0
    gated: bool = True
    router_bias: bool = False
    expert_bias: bool = False
    shared_gate: bool = False
    latent_width: int | None = None
    """The experts work in this width instead of the hidden size (Nemotron 3)."""
    fused_gate_up: bool = False
    hash_routed: bool = False
    """Experts are looked up by token id (first layers of DeepSeek-V4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """One block of the model; parallel mixers (Falcon-H1) stand side by side."""

    mixers: tuple[Mixer, ...]
    dense: DenseMlp | None = None
    experts: Experts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TensorGroup:
    """Tensors of one role and shape: one per layer in `layers`, or a single one when `layers` is empty.

    `role` is the GGUF name without the block prefix (`attn_q.weight`). `part`: text, vision or mtp.
    `stored_bytes` and `stored_type` are set when a file header says them; bytes are of one tensor.
    """

    role: str
    shape: tuple[int, ...]
    layers: tuple[int, ...] = ()
    part: str = "text"
    stored_type: str | None = None
    stored_bytes: int | None = None

    @property
    def count(self) -> int:
        """How many tensors the group stands for."""
        return max(1, len(self.layers))

    @property
    def elements_each(self) -> int:
        """Weights in one tensor."""
        return math.prod(self.shape)

    @property
    def elements(self) -> int:
        """Weights in the whole group."""
        return self.elements_each * self.count


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantizedCheckpoint:
    """What a pre-quantized repository says about itself."""

    weight_format: str
    kept_modules: tuple[str, ...] = ()
    """Modules left unquantized, as the config names them; patterns start with `re:`."""
    kv_format: str | None = None
    group_size: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LanguageModel:
    """Everything memory and support depend on. Built by `models.architectures` or a reader, never by hand.

    Compared by identity: two equal copies are two models to a cache, and hashing one costs nothing.
    """

    id: str
    architecture: str
    model_type: str
    hidden_size: int
    vocab_size: int
    max_context_tokens: int
    tied_embeddings: bool
    dtype: str
    layers: tuple[Layer, ...]
    tensors: tuple[TensorGroup, ...]
    gguf_architecture: str | None
    rotary_dim: int = 0
    """Widest rotary embedding of a head; 0 without rotation."""
    recurrent_dtype: str | None = None
    """Type of recurrent states when the config fixes one (f32)."""
    text_vocab_rows: int | None = None
    """Rows of the embedding in GGUF files where they differ from the checkpoint's (Gemma 3)."""
    checkpoint: QuantizedCheckpoint | None = None
    base_id: str | None = None
    """The original model of a pre-quantized repository."""
    stored_weight_bytes: int | None = None
    """Bytes of the weight files, when their headers were read."""
    mtp_mixers: tuple[Mixer, ...] = ()
    """Mixers of the multi-token-prediction layers, which run only with speculative decoding."""
    is_multimodal: bool = False
    is_local: bool = False
    """`id` is a path of this machine."""
    unaccounted: tuple[str, ...] = field(default=())
    """Parts whose size is unknown: their presence makes totals a lower bound."""

    def params(self, part: str | None = None) -> int:
        """Number of weights, of all parts or of one."""
        return sum(group.elements for group in self.tensors if part is None or group.part == part)
