"""Continuous batching, event by event: many decode steps are taken at once while nothing else can happen.

While no request finishes, none can be admitted and the cache suffices, every step adds one token to each sequence. So
the time of such a stretch is an arithmetic series, exact where the step time is affine in the context; a stretch is
cut before its context has grown by a quarter, which bounds the error where it is not. The cost is that of the events,
not of the tokens: it grows linearly with the requests.

What is left out: a preempted request finds nothing of its own in the prefix cache; a prompt takes its blocks when it
is admitted, not chunk by chunk.
"""

from array import array
from collections import deque
from heapq import heappop, heappush
from itertools import compress

from fitserve.predict.arrivals import ClosedLoop, Traffic
from fitserve.predict.figures import Records, ServingFigures, Targets
from fitserve.predict.scheduling import Scheduling, StepTimes, steps_until

_NO_LIMIT = 1 << 50
_BITS = 32  # a heap entry is (finish step, request) in one whole number, which compares faster than a pair
_MASK = (1 << _BITS) - 1
_NONE = -1
_LEAST_STRETCH = 16  # steps whose context growth is too small to matter at any length


def simulate(
    times: StepTimes, scheduling: Scheduling, traffic: Traffic, targets: Targets | None = None
) -> ServingFigures:
    """Runs all requests of the traffic to their end. Deterministic; raises ValueError on an impossible policy."""
    run = _Run(times, scheduling, traffic, targets)
    run.to_the_end()
    return run.figures()


class _Run:
    """State of a run. `step` counts decode steps: a request decodes in all of them until the one it finishes at.

    Blocks: a sequence takes a new one whenever its context crosses a multiple of the block. As all sequences grow in
    step, those with the same remainder do so together: `phase[step % block]` sequences need one at that step.
    """

    def __init__(self, times: StepTimes, policy: Scheduling, traffic: Traffic, targets: Targets | None) -> None:
        self.decode_s, self.prefill_s, self.mixed_s = times.decode_s, times.prefill_s, times.mixed_s
        self.policy, self.records = policy, Records(targets)
        self.mixes, self.reserves, self.seats = policy.mixes_decode, policy.reserves_output, policy.max_num_seqs
        self.block, self.dispatch = policy.block_tokens, policy.dispatch_s
        self.shared = traffic.shared_prefix_tokens // self.block
        total = _NO_LIMIT if policy.kv_tokens is None else policy.kv_tokens // self.block
        self.blocks = self.free = self.least_free = max(total - self.shared, 0)
        self.watermark = int(policy.watermark_share * self.blocks) if policy.kv_tokens is not None else 0
        self.prompts, self.outputs, self.sent = traffic.prompt_tokens(), traffic.output_tokens(), traffic.sent_s()
        self._reject()
        self.count, self.reused = len(self.prompts), traffic.reused_tokens(self.prompts, self.block)
        self.rejected = traffic.request_count - self.count
        users = traffic.arrivals.concurrent_requests if isinstance(traffic.arrivals, ClosedLoop) else None
        self.live = users is not None
        self.issued = self.count if users is None else min(users, self.count)
        self.phase = [0] * self.block
        self.now = self.queue_s = self.busy_s = self.pairs = self.last_decode = 0.0
        self.step = self.batch = self.context = self.running = self.done = self.next_new = 0
        self.preemptions = self.recomputed = self.peak_batch = 0
        self.decode_steps = self.prefill_steps = 0
        self.partial, self.past = _NONE, 0  # the prompt that is spread over steps, and how much of it is done
        self.waiting: deque[int] = deque()
        self.stack: list[int] = []  # admitted, oldest first; those that have finished are dropped now and then
        self.heap: list[int] = []
        self.ended: list[int] = []  # prompts that this step completes
        self.resumed: dict[int, int] = {}  # tokens that a preempted request had when it lost its cache
        self.last_token: dict[int, float] = {}  # and when it had the last of them
        self.rejoined: dict[int, float] = {}
        self.late: list[list[float]] = []  # (time of the last token, sequences) where prefill steps came in between
        self.finish_at = array("q", bytes(8 * self.count))  # 0: not decoding
        self.first = array("d", bytes(8 * self.count))

    def _reject(self) -> None:
        """Drops the requests that could never run: the answer is an error at once, and a user goes on to the next."""
        longest = min(self.policy.max_request_tokens or _NO_LIMIT, (self.blocks + self.shared) * self.block + 1)
        if max(self.prompts) + max(self.outputs) <= longest:
            return
        kept = [p + n <= longest for p, n in zip(self.prompts, self.outputs, strict=True)]
        self.prompts, self.outputs = array("q", compress(self.prompts, kept)), array("q", compress(self.outputs, kept))
        self.sent = array("d", compress(self.sent, kept))

    def to_the_end(self) -> None:
        """Event after event until every request is done."""
        turn = self._mixing_turn if self.mixes else self._separate_turn
        while self.done < self.count:
            if self.next_new < self.issued:
                self._take_arrivals()
            if self.running or self.waiting:
                turn()
            else:
                self.now = max(self.now, self.sent[self.next_new] + self.dispatch)

    def _mixing_turn(self) -> None:
        """Running sequences get their token and their block first; prefill takes what is left of both."""
        need = self._make_room()
        tokens = self._prefill(self.free - need) if self.waiting or self.partial >= 0 else 0
        if tokens:
            batch = self.batch
            seconds = self._step_s(batch, tokens)
            self.now += seconds
            self.busy_s += self.running * seconds
            self.prefill_steps += 1
            if batch:
                self._grow(1, need, batch)
                self.records.gaps.add(seconds, batch)
                self._finish_due()
            for request in self.ended:
                self._join(request)
        elif self.batch:
            self._decode(need)

    def _separate_turn(self) -> None:
        """A prefill step while anything can be admitted, and otherwise decode steps."""
        tokens = self._prefill(self.free) if self.waiting or self.partial >= 0 else 0
        if tokens:
            batch = self.batch
            if batch and not self.late:
                self.late.append([self.now, batch])
            seconds = self._step_s(0, tokens)
            self.now += seconds
            self.busy_s += self.running * seconds
            self.prefill_steps += 1
            for request in self.ended:
                self._join(request)
            if self.batch > batch:
                self.late.append([self.now, self.batch - batch])
        elif self.batch:
            self._decode(self._make_room())

    def _take_arrivals(self) -> None:
        """Moves what the scheduler can see by now into its queue."""
        while self.next_new < self.issued:
            request = self.next_new
            ready = self.sent[request] + self.dispatch
            if ready > self.now:
                return
            self.next_new = request + 1
            self.waiting.append(request)
            self.queue_s -= ready

    def _prefill(self, room: int) -> int:
        """Fills a step with prompt tokens, first come first served, into `room` free blocks; returns how many tokens.

        `ended` then holds the requests whose prompt is complete, `pairs` how many tokens all tokens of the step see.
        """
        waiting, policy = self.waiting, self.policy
        budget = limit = policy.max_batched_tokens - (self.batch if self.mixes else 0)
        self.ended.clear()
        self.pairs = 0.0
        if self.partial >= 0:
            budget -= self._continue(budget)
        while waiting and budget > 0 and self.running < self.seats and self.partial < 0:
            request = waiting[0]
            tokens = self.prompts[request]
            if self.resumed:
                tokens += self.resumed.get(request, 0)
            held = self.prompts[request] + self.outputs[request] - 1 if self.reserves else tokens
            need = -(-held // self.block) - self.shared
            if need > (room - self.watermark if self.running else room):
                break
            past = self.reused[request]
            chunk = tokens - past
            if chunk > budget:
                if policy.splits_prompts:
                    chunk = budget
                elif budget != limit:
                    break
            self._admit(request, need)
            room -= need
            budget -= chunk
            self.pairs += chunk * (past + chunk / 2)
            if past + chunk == tokens:
                self.ended.append(request)
            else:
                self.partial, self.past = request, past + chunk
        return limit - budget

    def _continue(self, budget: int) -> int:
        """The next chunk of the prompt that is spread over steps; returns its tokens."""
        request = self.partial
        tokens = self.prompts[request] + self.resumed.get(request, 0)
        chunk = min(tokens - self.past, budget)
        if chunk > 0:
            self.pairs += chunk * (self.past + chunk / 2)
            self.past += chunk
            if self.past == tokens:
                self.ended.append(request)
                self.partial = _NONE
        return chunk

    def _step_s(self, batch: int, tokens: int) -> float:
        """Time of a step with so many prompt tokens, in pieces where the device takes no more at once."""
        past, piece = self.pairs / tokens - tokens / 2, self.policy.ubatch_tokens or _NO_LIMIT
        first = min(tokens, piece - batch)
        if not batch:
            seconds = self.prefill_s(first, past)
        elif first > 0:
            seconds = self.mixed_s(batch, self.context, first, past)
        else:
            first, seconds = 0, self.decode_s(batch, self.context)
        for done in range(first, tokens, piece):
            seconds += self.prefill_s(min(piece, tokens - done), past + done)
        return seconds

    def _admit(self, request: int, need: int) -> None:
        self.waiting.popleft()
        self.queue_s += self.now
        self.running += 1
        if self.running > self.peak_batch:
            self.peak_batch = self.running
        self.free -= need
        if self.free < self.least_free:
            self.least_free = self.free
        if len(self.stack) > 4 * self.running + 64:
            started = {self.partial, *self.ended}
            self.stack = [i for i in self.stack if self.finish_at[i] or i in started]
        self.stack.append(request)

    def _join(self, request: int) -> None:
        """The prompt is in the cache and the first token (after a preemption: the next one) is out."""
        prompt, count, before = self.prompts[request], self.outputs[request], 0
        if self.resumed and request in self.resumed:
            before = self.resumed.pop(request)
            self.records.gaps.add(self.now - self.last_token.pop(request), 1)
            self.rejoined[request] = self.now
        else:
            self.first[request] = self.now
        self.batch += 1
        self.context += prompt + before + 1
        if not self.reserves:
            self.phase[(self.step + 1 - prompt - before) % self.block] += 1
        finish = self.step + count - before - 1
        if finish == self.step:
            self._finish(request)
        else:
            self.finish_at[request] = finish
            heappush(self.heap, finish << _BITS | request)

    def _finish_due(self) -> None:
        """Ends the requests whose last token this step made; entries of preempted ones are stale and skipped."""
        heap, finish_at, step = self.heap, self.finish_at, self.step
        while heap and heap[0] >> _BITS <= step:
            request = heappop(heap) & _MASK
            if finish_at[request] == step:
                self._finish(request)

    def _finish(self, request: int) -> None:
        prompt, count = self.prompts[request], self.outputs[request]
        self.finish_at[request] = 0
        self.batch -= 1
        self.running -= 1
        self.context -= prompt + count
        self.free += -(-(prompt + count - 1) // self.block) - self.shared
        if not self.reserves:
            self.phase[(self.step - count + 2 - prompt) % self.block] -= 1
        if self.rejoined:
            self.rejoined.pop(request, None)
        self.records.finished(self.sent[request], self.first[request], self.now, prompt, count)
        self.done += 1
        if self.live and self.issued < self.count:  # a user sends the next one at once
            self.sent[self.issued] = self.now
            self.issued += 1

    def _make_room(self) -> int:
        """Blocks that the next decode step takes; the youngest requests give theirs up for it where too few are free.

        What is free then never suffices for them to come back in the same step.
        """
        phase, at = self.phase, (self.step + 1) % self.block
        while phase[at] > self.free:
            self._preempt()
        return phase[at]

    def _preempt(self) -> None:
        """The youngest request loses its cache and goes to the head of the queue."""
        request = self.stack.pop()
        while not (self.finish_at[request] or request == self.partial):
            request = self.stack.pop()
        prompt, count, finish = self.prompts[request], self.outputs[request], self.finish_at[request]
        if request == self.partial:
            held = prompt + self.resumed.get(request, 0)
            self.recomputed += self.past - self.reused[request]
            self.partial = _NONE
        else:
            made = count - (finish - self.step)
            held = prompt + made - 1
            self.recomputed += held - self.reused[request]
            self.resumed[request] = made
            last = max(self.rejoined.pop(request, self.first[request]), self.last_decode)
            self.last_token[request] = last
            for group in self.late:
                if group[0] == last:
                    group[1] -= 1
                    break
            self.batch -= 1
            self.context -= prompt + made
            self.phase[(finish - count + 2 - prompt) % self.block] -= 1
            self.finish_at[request] = 0
        self.free += -(-held // self.block) - self.shared
        self.running -= 1
        self.preemptions += 1
        self.waiting.appendleft(request)
        self.queue_s -= self.now

    def _decode(self, need: int) -> None:
        """Decode steps until the next thing that can change the batch."""
        heap, finish_at, batch, context = self.heap, self.finish_at, self.batch, self.context
        while finish_at[heap[0] & _MASK] != heap[0] >> _BITS:
            heappop(heap)
        steps = (heap[0] >> _BITS) - self.step
        if self.late:
            steps = 1
        elif steps > 1:
            steps = self._steps_with_room(min(steps, max(_LEAST_STRETCH, context // (4 * batch))))
        first = last = seconds = self.decode_s(batch, context)
        if steps > 1:
            last = self.decode_s(batch, context + (steps - 1) * batch)
            seconds = steps * (first + last) / 2
            if self.running < self.seats and not self.waiting and self.next_new < self.issued:
                until = self.sent[self.next_new] + self.dispatch - self.now
                if seconds > until:
                    slope = (last - first) / (steps - 1)
                    steps = steps_until(until, first, slope, steps)
                    last = first + slope * (steps - 1)
                    seconds = steps * (first + last) / 2
        self.now += seconds
        self.busy_s += self.running * seconds
        for time, count in self.late:
            if count:
                self.records.gaps.add(self.now - time, int(count))
        if not self.late:
            self.records.gaps.add_series(first, last, steps, batch)
        self.late.clear()
        self._grow(steps, need if steps == 1 else self._blocks_over(steps), batch)
        self._finish_due()

    def _grow(self, steps: int, blocks: int, batch: int) -> None:
        """Every decoding sequence is `steps` tokens longer."""
        self.decode_steps += steps
        self.step += steps
        self.context += steps * batch
        self.last_decode = self.now
        self.free -= blocks
        if self.free < self.least_free:
            self.least_free = self.free

    def _steps_with_room(self, steps: int) -> int:
        """How many of the next steps the free blocks suffice for; the first is known to."""
        block, batch, left = self.block, self.batch, self.free
        if self.reserves or left >= (steps // block + 1) * batch:
            return steps
        enough = left // batch * block
        left %= batch
        for ahead in range(self.step + 1, self.step + block + 1):
            left -= self.phase[ahead % block]
            if left < 0:
                break
            enough += 1
        return min(steps, enough)

    def _blocks_over(self, steps: int) -> int:
        """Blocks that the next steps take together: in as many steps as a block has tokens, one for each sequence."""
        if self.reserves:
            return 0
        block, phase, step = self.block, self.phase, self.step
        rest = sum(phase[ahead % block] for ahead in range(step + 1, step + 1 + steps % block))
        return steps // block * self.batch + rest

    def figures(self) -> ServingFigures:
        """The figures of the finished run."""
        makespan = self.now - self.sent[0] if self.count else 0.0
        used = (self.blocks - self.least_free + self.shared) * self.block
        capacity = self.policy.kv_tokens
        return self.records.figures(
            makespan_s=makespan,
            rejected=self.rejected,
            preemptions=self.preemptions,
            recomputed_tokens=self.recomputed,
            mean_batch=self.busy_s / makespan if makespan else 0.0,
            peak_batch=self.peak_batch,
            kv_peak_tokens=used,
            kv_peak_share=used / capacity if capacity else None,
            queued_s=max(self.queue_s, 0.0),
            decode_steps=self.decode_steps,
            prefill_steps=self.prefill_steps,
        )
