"""Clocks and counters: side by side, in turn, medians of ratios; operations counted, not declared."""
import time
from collections.abc import Callable
from statistics import median

import torch


def clock(
    fn:Callable[[],object], # what to time
    device:torch.device,    # waited for
)->float:                   # seconds
    "Time of one call."
    done = torch.cuda.synchronize if device.type=='cuda' else lambda: None
    done()
    start = time.perf_counter()
    fn(); done()
    return time.perf_counter()-start

def alternate(
    paths:dict[str,Callable], # what to compare, by name
    rounds:int,               # each path runs once in each
    device:torch.device,      # where they run
    least:float|None=None,    # repeat short calls for this many seconds a round, warmed by one more; None for warm paths, once a round
)->dict[str,list[float]]:     # seconds of one call, one number a round
    "Time the paths in turn, backwards in every other round, so that a slow spell of the machine hits all alike."
    repeats = {k: 1 if least is None else min(1000, 1+int(least/clock(f, device))) for k,f in paths.items()}
    seconds = {k: [] for k in paths}
    for r in range(rounds):
        for k in list(paths)[::1 if r%2==0 else -1]:
            many = lambda f=paths[k],n=repeats[k]: [f() for _ in range(n)]
            seconds[k].append(clock(many, device)/repeats[k])
    return seconds

def medians(seconds:dict[str,list[float]])->dict[str,float]:
    "Median seconds of each path."
    return {k: median(s) for k,s in seconds.items()}

def ratio(
    seconds:dict[str,list[float]], # from `alternate`
    slow:str, fast:str,            # two of its paths
)->float:                          # above 1 where `fast` is faster
    "Median over rounds of the ratio of two times."
    return median(a/b for a,b in zip(seconds[slow], seconds[fast], strict=True))


def _attention(q, k, v, *_, **__)->int:
    return 2*q[0]*q[1]*q[2]*k[2]*(q[3] + v[3])

def _attention_back(grad, q, k, v, *_, **__)->int:
    "Five matrix products for the two of the way forward."
    return 2*q[0]*q[1]*q[2]*k[2]*(3*q[3] + 2*v[3])

def flop(
    fn:Callable[[],object], # what to count; called once, with gradients if it wants them
)->int:                     # floating-point operations, two per multiply-add
    "Operations of all matrix products and convolutions of a call."
    from torch.utils.flop_counter import FlopCounterMode
    aten = torch.ops.aten
    also = {aten._scaled_dot_product_flash_attention_for_cpu: _attention,
            aten._scaled_dot_product_flash_attention_for_cpu_backward: _attention_back}
    with FlopCounterMode(display=False, custom_mapping=also) as count: fn()
    return int(count.get_total_flops())

def matmul_peak(
    dtype:torch.dtype,   # of the matrices
    device:torch.device, # where they are
    n:int,               # rows and columns
    rounds:int,          # of which the median counts
)->float:                # FLOP/s
    "Median over rounds of the best of five large matrix products."
    a,b = (torch.randn(n, n, device=device).to(dtype) for _ in range(2))
    a@b
    return median(2*n**3/min(clock(lambda: a@b, device) for _ in range(5)) for _ in range(rounds))

def difference(
    a:torch.Tensor, b:torch.Tensor, # of one shape
)->float:                           # 0 where both are zero
    "Largest difference relative to the largest entry of `b`."
    return float((a-b).abs().max()/b.abs().max().clamp(min=1e-30))
