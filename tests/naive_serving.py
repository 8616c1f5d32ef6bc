"""Continuous batching step by step and token by token, without any short cut: what the simulation is held against."""

from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil

from fitserve.predict.arrivals import ClosedLoop, Traffic
from fitserve.predict.scheduling import Scheduling, StepTimes


@dataclass(eq=False)
class Request:
    prompt: int
    output: int
    reused: int
    sent: float = 0.0
    computed: int = 0
    """Tokens in the cache."""
    blocks: int = 0
    token_times: list[float] = field(default_factory=list)
    queued_since: float = 0.0
    queued_s: float = 0.0
    rejected: bool = False
    decoding: bool = False

    @property
    def to_compute(self) -> int:
        """Tokens that must be in the cache before the next one comes out of a prefill."""
        return self.prompt + len(self.token_times)

    @property
    def done(self) -> bool:
        return self.rejected or len(self.token_times) == self.output


class Naive:
    def __init__(self, times: StepTimes, policy: Scheduling, traffic: Traffic) -> None:
        self.times, self.policy, self.traffic = times, policy, traffic
        block = policy.block_tokens
        self.common = traffic.shared_prefix_tokens // block
        self.total = self.free = (policy.kv_tokens or 10**9) // block - self.common
        lengths = zip(traffic.prompt_tokens(), traffic.output_tokens(), strict=True)
        self.requests = [self.request(prompt, output) for prompt, output in lengths]
        for request, at in zip(self.requests, traffic.sent_s(), strict=True):
            request.sent = at
            whole = request.prompt + request.output
            longest = policy.max_request_tokens or 10**12
            request.rejected = whole > longest or self.blocks_of(whole - 1) > self.total
        loop = isinstance(traffic.arrivals, ClosedLoop)
        self.queue = [request for request in self.requests if not request.rejected]
        self.issued = min(traffic.arrivals.concurrent_requests, len(self.queue)) if loop else len(self.queue)
        self.now = 0.0
        self.seen = self.preemptions = self.peak = self.most_used = 0
        self.busy_s = 0.0
        self.waiting: list[Request] = []
        self.running: list[Request] = []
        self.decoding: list[Request] = []

    def request(self, prompt: int, output: int) -> Request:
        block, traffic = self.policy.block_tokens, self.traffic
        hit = max(int(prompt * traffic.reused_share), traffic.shared_prefix_tokens)
        return Request(prompt, output, min(hit, prompt - 1) // block * block)

    def blocks_of(self, tokens: int) -> int:
        return ceil(tokens / self.policy.block_tokens) - self.common

    def run(self) -> "Naive":
        while not all(request.done for request in self.requests):
            self.arrive()
            if not self.running and not self.waiting:
                if self.seen < self.issued:
                    self.now = max(self.now, self.queue[self.seen].sent + self.policy.dispatch_s)
                continue
            (self.mixed_step if self.policy.mixes_decode else self.separate_step)()
            assert 0 <= self.free <= self.total
            assert sum(request.blocks for request in self.running) + self.free == self.total
        return self

    def arrive(self) -> None:
        while self.seen < self.issued:
            request = self.queue[self.seen]
            ready = request.sent + self.policy.dispatch_s
            if ready > self.now:
                return
            self.seen += 1
            request.queued_since = ready
            self.waiting.append(request)

    def send_next(self) -> None:
        if isinstance(self.traffic.arrivals, ClosedLoop) and self.issued < len(self.queue):
            self.queue[self.issued].sent = self.now
            self.issued += 1

    def preempt(self, victim: Request) -> None:
        self.running.remove(victim)
        self.free += victim.blocks
        victim.blocks = victim.computed = 0
        victim.decoding = False
        victim.queued_since = self.now
        self.waiting.insert(0, victim)
        self.preemptions += 1

    def take_blocks(self) -> bool:
        """Room for one more token of every decoding sequence, oldest first; whether any had to be preempted."""
        preempted = False
        for request in list(self.running):
            while request in self.running and request.decoding and not self.policy.reserves_output:
                if self.blocks_of(request.computed + 1) <= request.blocks:
                    break
                if self.free:
                    self.free -= 1
                    request.blocks += 1
                    break
                preempted = True
                self.preempt(self.running[-1])
        self.used()
        return preempted

    def used(self) -> None:
        self.most_used = max(self.most_used, self.total - self.free)
        self.peak = max(self.peak, len(self.running))

    def chunks(self, budget: int) -> list[tuple[Request, int]]:
        policy, found, whole_budget = self.policy, [], budget
        for request in self.running:
            if not request.decoding and budget > 0:
                found.append((request, min(request.to_compute - request.computed, budget)))
                budget -= found[-1][1]
        if any(not r.decoding for r in self.running) and budget <= 0:
            return found
        while self.waiting and budget > 0 and len(self.running) < policy.max_num_seqs:
            request = self.waiting[0]
            held = request.prompt + request.output - 1 if policy.reserves_output else request.to_compute
            kept = int(policy.watermark_share * self.total) if self.running and policy.kv_tokens else 0
            if self.blocks_of(held) > self.free - kept:
                break
            chunk = request.to_compute - request.reused
            if chunk > budget and not policy.splits_prompts and budget != whole_budget:
                break
            if policy.splits_prompts:
                chunk = min(chunk, budget)
            self.waiting.pop(0)
            request.queued_s += self.now - request.queued_since
            request.computed, request.blocks = request.reused, self.blocks_of(held)
            self.free -= request.blocks
            self.running.append(request)
            found.append((request, chunk))
            budget -= chunk
        self.used()
        return found

    def step(self, decoding: list[Request], chunks: list[tuple[Request, int]]) -> None:
        context = sum(request.computed + 1 for request in decoding)
        tokens = sum(chunk for _, chunk in chunks)
        if tokens:
            seen = sum(chunk * (request.computed + chunk / 2) for request, chunk in chunks) / tokens
            seconds = self.prefill_s(len(decoding), context, tokens, seen - tokens / 2)
        else:
            seconds = self.times.decode_s(len(decoding), context)
        self.busy_s += len(self.running) * seconds
        self.now += seconds
        for request in decoding:
            request.computed += 1
            request.token_times.append(self.now)
        for request, chunk in chunks:
            request.computed += chunk
            if request.computed == request.to_compute:
                request.token_times.append(self.now)
                request.decoding = True
        for request in list(self.running):
            if request.done:
                self.running.remove(request)
                self.free += request.blocks
                request.blocks = 0
                self.send_next()

    def prefill_s(self, batch: int, context: int, tokens: int, past: float) -> float:
        """The decodes stand first in the batch of the device, the prompt tokens fill it up and go on in further ones."""
        most, seconds = self.policy.ubatch_tokens or 10**9, 0.0
        while batch or tokens:
            fit = max(min(tokens, most - batch), 0)
            if batch:
                seconds += self.times.mixed_s(batch, context, fit, past) if fit else self.times.decode_s(batch, context)
            else:
                seconds += self.times.prefill_s(fit, past)
            batch, tokens, past = 0, tokens - fit, past + fit
        return seconds

    def mixed_step(self) -> None:
        preempted = self.take_blocks()
        decoding = [request for request in self.running if request.decoding]
        chunks = [] if preempted else self.chunks(self.policy.max_batched_tokens - len(decoding))
        if decoding or chunks:
            self.step(decoding, chunks)

    def separate_step(self) -> None:
        chunks = self.chunks(self.policy.max_batched_tokens)
        if chunks:
            self.step([], chunks)
            return
        self.take_blocks()
        self.step([request for request in self.running if request.decoding], [])

    def gaps(self) -> list[float]:
        return sorted(b - a for r in self.queue for a, b in pairwise(r.token_times))
