"""How vLLM cuts its KV pool into blocks and how many requests that holds.

Rules of vLLM 0.32.0 (v1/core/kv_cache_utils.py: grouping, start check, capacity), restated from layer pages alone;
they reproduce the engine's own decisions on every measured model (evidence vllm_kv_pool).
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

from fitserve.engines.vllm.kv_specs import COMPRESSED_BLOCK_TOKENS, LayerPage
from fitserve.foundation.units import ceil_div

_SAME_GROUP_RATIO = 1.5  # buckets less than this far apart make one group each


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolSettings:
    """What a request may have in flight. `in_flight_tokens`: batch tokens, twice with asynchronous scheduling."""

    in_flight_tokens: int
    hybrid_manager: bool = True
    prefix_caching: bool = True
    speculative_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class KvGroup:
    """Layers that share a block table."""

    kind: str
    layers: int
    block_tokens: int
    page_bytes: int
    reach_tokens: int | None = None
    checkpoint_blocks: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class KvPool:
    """The groups of a model and the bytes of one pool block."""

    groups: tuple[KvGroup, ...]
    bytes_per_block: int
    settings: PoolSettings
    refusal: str | None = None

    def blocks_per_request(self, tokens: int) -> int:
        """Pool blocks that one request of `tokens` may hold at most."""
        return sum(_group_blocks(group, tokens, self.settings) for group in self.groups)

    def block_count(self, pool_bytes: int) -> int:
        """Blocks that a pool of this size has."""
        return max(0, pool_bytes // self.bytes_per_block) if self.bytes_per_block else 0

    def starts(self, pool_bytes: int, tokens: int) -> bool:
        """Whether the engine's start check passes: one request of `tokens`, beside the null block."""
        return self.blocks_per_request(tokens) * self.bytes_per_block <= pool_bytes - self.bytes_per_block

    def max_concurrency(self, pool_bytes: int, tokens: int) -> float:
        """Requests of `tokens` at once, as the log prints it (the null block counts)."""
        need = self.blocks_per_request(tokens)
        return self.block_count(pool_bytes) / need if need else 0.0

    def longest_request(self, pool_bytes: int, limit: int) -> int:
        """The longest length, up to `limit`, that passes the start check; 0 when none does."""
        low, high = 0, limit
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if self.starts(pool_bytes, middle) else (low, middle - 1)
        return low

    def needed_bytes(self, tokens: int) -> int:
        """Bytes of one request of `tokens`, as the error message prints it."""
        return self.blocks_per_request(tokens) * self.bytes_per_block


def _group_blocks(group: KvGroup, tokens: int, settings: PoolSettings) -> int:
    flight = settings.in_flight_tokens
    match group.kind:
        case "Mamba":
            extra = 2 + group.checkpoint_blocks if settings.prefix_caching else 1
            return extra + settings.speculative_tokens
        case "SlidingWindow" | "SlidingWindowMLA":
            assert group.reach_tokens is not None
            return ceil_div(min(group.reach_tokens - 1 + flight, tokens), group.block_tokens) + 1
        case "ChunkedLocalAttention":
            assert group.reach_tokens is not None
            return ceil_div(min(group.reach_tokens + flight, tokens), group.block_tokens)
        case _:
            return ceil_div(tokens, group.block_tokens)


def build_pool(pages: list[LayerPage], settings: PoolSettings) -> KvPool:
    """Groups the pages the way the engine does."""
    if not pages:
        return KvPool(groups=(), bytes_per_block=0, settings=settings)
    if any(page.block_tokens == COMPRESSED_BLOCK_TOKENS and page.kind == "MLAAttention" for page in pages):
        refusal = None if settings.hybrid_manager else "compressed attention needs the hybrid KV cache manager"
        return replace(_block_outermost(pages, settings), refusal=refusal)
    if not settings.hybrid_manager:
        if any(page.kind == "Mamba" for page in pages) and len({page.kind for page in pages}) > 1:
            return replace(_grouped(pages, settings), refusal="states and attention cannot share one group")
        pages = [
            replace(page, kind="FullAttention", reach_tokens=None) if page.reach_tokens else page for page in pages
        ]
    return _one_group(pages, settings) or _grouped(pages, settings)


def _one_group(pages: list[LayerPage], settings: PoolSettings) -> KvPool | None:
    """All layers in one group: all full (latent included) with one block size, or all with the same window."""
    full = all(page.kind in {"FullAttention", "MLAAttention"} for page in pages)
    same = len({(page.kind, page.reach_tokens) for page in pages}) == 1
    if not (full or same) or len({page.block_tokens for page in pages}) > 1:
        return None
    first = pages[0]
    if first.kind == "Mamba" and len({page.page_bytes for page in pages}) > 1:
        return None
    group = KvGroup(
        kind=first.kind, layers=len(pages), block_tokens=first.block_tokens, page_bytes=first.page_bytes,
        reach_tokens=first.reach_tokens, checkpoint_blocks=first.checkpoint_blocks,
    )  # fmt: skip
    return KvPool(groups=(group,), bytes_per_block=sum(page.page_bytes for page in pages), settings=settings)


def _grouped(pages: list[LayerPage], settings: PoolSettings) -> KvPool:
    """Pages made equal, layers bucketed by equal spec, buckets cut into groups of about the same length."""
    largest = max(page.page_bytes for page in pages)
    pages = [_with_page(page, largest) for page in pages]
    buckets = _buckets(pages, lambda page: (page.kind, page.block_tokens, page.reach_tokens, page.checkpoint_blocks))
    sizes = [len(bucket) for bucket in buckets]
    size = max(sizes) if max(sizes) < _SAME_GROUP_RATIO * min(sizes) else min(sizes)
    groups: list[KvGroup] = []
    for bucket in buckets:
        count = ceil_div(len(bucket), size)
        for position in range(count):
            members = bucket[position::count]
            groups.append(_group(members[0], len(members), largest))
    return KvPool(
        groups=tuple(groups), bytes_per_block=largest * max(group.layers for group in groups), settings=settings
    )


def _with_page(page: LayerPage, largest: int) -> LayerPage:
    """A smaller attention page that divides the largest holds more tokens instead; other pages are padded."""
    if page.page_bytes == largest or page.kind == "Mamba":
        return replace(page, page_bytes=largest)
    if largest % page.page_bytes == 0:
        return replace(page, block_tokens=page.block_tokens * (largest // page.page_bytes), page_bytes=largest)
    return replace(page, page_bytes=largest)


def _group(first: LayerPage, layers: int, page_bytes: int) -> KvGroup:
    return KvGroup(
        kind=first.kind, layers=layers, block_tokens=first.block_tokens, page_bytes=page_bytes,
        reach_tokens=first.reach_tokens, checkpoint_blocks=first.checkpoint_blocks,
    )  # fmt: skip


def _buckets(pages: list[LayerPage], key: Callable[[LayerPage], object]) -> list[list[LayerPage]]:
    found: dict[object, list[LayerPage]] = defaultdict(list)
    for page in pages:
        found[key(page)].append(page)
    return list(found.values())


def _block_outermost(pages: list[LayerPage], settings: PoolSettings) -> KvPool:
    """DeepSeek-V4: pages keep their sizes; balanced buckets are cut so that padding to a common repeat is least."""
    buckets = _buckets(pages, lambda page: (page.kind, page.block_tokens, page.reach_tokens))
    counts = [_page_counts(bucket) for bucket in buckets]
    balanced = [len(set(count.values())) == 1 for count in counts]
    heights = [next(iter(count.values())) for count, even in zip(counts, balanced, strict=True) if even]
    mixed = [
        next(iter(count.values())) for count, even in zip(counts, balanced, strict=True) if even and len(count) > 1
    ]
    repeat = None
    if mixed:
        repeat = min(range(min(mixed), max(heights) + 1), key=lambda r: (sum(-h % r for h in heights), -r))
    groups: list[KvGroup] = []
    widths: list[int] = []
    for bucket, count, even in zip(buckets, counts, balanced, strict=True):
        parts = ceil_div(next(iter(count.values())), repeat) if even and repeat else 1
        for position in range(parts):
            members = [page for size in count for page in [p for p in bucket if p.page_bytes == size][position::parts]]
            groups.append(_group(members[0], len(members), members[0].page_bytes))
            widths.append(sum(page.page_bytes for page in members))
    return KvPool(groups=tuple(groups), bytes_per_block=max(widths), settings=settings)


def _page_counts(bucket: list[LayerPage]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for page in bucket:
        counts[page.page_bytes] = counts.get(page.page_bytes, 0) + 1
    return counts
