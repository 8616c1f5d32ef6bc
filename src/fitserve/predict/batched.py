"""Closed form of a batching server under load: from step times to TTFT, time per output token, throughput."""
import math
from dataclasses import dataclass
def usual_context(limit, length):
    return min(limit, max(length + 200, 1024))
def batched_speed(*a): pass

@dataclass(frozen=True, slots=True, kw_only=True)
class Regime:
    asked: float
    batch: float
    count: float
    prompt: int
    output: int
    budget_tokens: float

def prefill_budget(deployment):
    text = deployment.options.get("max-num-batched-tokens")
    if text: return float(text)
    big = (deployment.machine.devices[0].memory_bytes >= 70e9) and 'a100' not in deployment.machine.devices[0].id
    return 8192.0 if big or deployment.engine!='vllm' else 2048.0

def regime(deployment, budget, load):
    replicas = deployment.dp
    asked = (load.concurrent_requests or 1) / replicas
    length = load.prompt_tokens + load.output_tokens
    fit = budget.kv.capacity_tokens / length
    dpk = deployment.dp if deployment.ep<=deployment.tp else 1
    slots = min(budget.max_num_seqs, fit if fit >= 1 else math.inf)
    count = (load.request_count or 10 * (load.concurrent_requests or 1)) / replicas
    return Regime(asked=asked, batch=max(1.0,min(asked, slots, count)), count=max(count,1), prompt=load.prompt_tokens, output=load.output_tokens, budget_tokens=prefill_budget(deployment))
