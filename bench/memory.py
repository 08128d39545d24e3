"""Measurements of memory: peaks, each path in a process of its own, and what a bound label map takes."""
import json
import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor

from cases import Case, build, case, label_maps
from edmxl.data.processes import peak_memory_mb
from edmxl.models.neighbourhoods import Neighbourhoods, neighbourhoods
from plain import plain
from speed import Setup, adam, evaluate, inputs, losses, step


def peak_mib(device:torch.device)->float:
    """Largest memory of this process so far, in MiB. On Linux it is read from /proc: what getrusage says of a process begins with
    what the process that started it held."""
    if device.type=='cuda': return torch.cuda.max_memory_allocated()/2**20
    if (status := Path('/proc/self/status')).exists():
        return next(int(l.split()[1])/2**10 for l in status.read_text().splitlines() if l.startswith('VmHWM'))
    return peak_memory_mb()

def child(job:dict)->dict[str,float]:
    "Peaks of one path, in a fresh process: networks built, one evaluation, one training step."
    c,s = case(job['case']),Setup(torch.device(job['device']), quick=job['quick'], maps=job['maps'])
    d = build(c, s.device)
    if job['path']=='plain': d = plain(d)
    mib = dict(built=peak_mib(s.device))
    x,maps = inputs(c, s, s.drawn(c))
    evaluate(d.bind(maps), x)
    mib['evaluation'] = peak_mib(s.device)
    step(d.train(), adam(d, {}), losses(c, s, s.trained))
    return mib | dict(training=peak_mib(s.device))

WAYS = dict(plain='plain path', ours='ours')

def memory(c:Case, s:Setup)->dict:
    "Peak memory of one evaluation and of one training step, each path in a fresh process."
    out = {}
    for path in WAYS:
        job = dict(case=c.name, device=str(s.device), quick=s.quick, maps=s.maps, path=path)
        p = subprocess.run([sys.executable, __file__, json.dumps(job)], capture_output=True, text=True)
        if 'OutOfMemoryError' in p.stderr: raise torch.OutOfMemoryError(f'{WAYS[path]}: more memory is needed than the GPU has')
        if p.returncode: raise RuntimeError(f'the process that measures the memory of {c.name} ({path}) failed:\n{p.stderr[-2000:]}')
        out[path] = json.loads(p.stdout)
    return dict(case=c.name, batch=s.drawn(c), batch_training=s.trained, mib=out)


# the condition

def found_in(c:Case, maps:Tensor)->list[tuple[int,Neighbourhoods]]:
    "Channels and neighbourhoods of every SPADE of a case; its network is never allocated."
    with torch.device('meta'): net = c.unet.build()
    sizes = [c.size//(c.unet.patch*2**level) for _,level in net.spades()]
    n = {z: neighbourhoods(maps, c.unet.n_labels, (z, z), c.unet.patch) for z in set(sizes)}
    return [(m.norm.num_channels, n[z]) for (m,_),z in zip(net.spades(), sizes, strict=True)]

def counted(found:list[tuple[int,Neighbourhoods]])->dict[str,int]:
    "Bytes of tables and index, and of full maps, in fp32."
    index = {id(n): n.index.numel()*n.index.element_size() for _,n in found}
    return dict(table=sum(2*c*len(n.rows)*4 for c,n in found) + sum(index.values()),
                maps=sum(2*c*n.index.numel()*4 for c,n in found))

@torch.no_grad()
def computed(c:Case, maps:Tensor)->int:
    "Bytes of the condition that a denoiser really keeps; only its SPADEs are allocated."
    with torch.device('meta'): net = c.unet.build()
    for m,_ in net.spades():
        m.to_empty(device=maps.device)
        for p in m.parameters(): p.normal_(std=.02)
    kept = [t for mod in net.condition(maps, (c.size, c.size), maps.device) for t in mod if t is not None]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in kept}.values())

def condition(c:Case, s:Setup)->dict:
    "Bytes that a bound denoiser keeps for each distinct label map, against full maps of scale and shift."
    maps = label_maps(2 if s.quick else 8, c.map_size, s.maps).to(s.device)
    each = [counted(found_in(c, m[None])) for m in maps]
    mean = lambda k: sum(e[k] for e in each)/len(each)/2**20
    return dict(case=c.name, maps=len(maps), mib=mean('table'), largest_mib=max(e['table'] for e in each)/2**20, full_mib=mean('maps'),
                computed_mib=computed(c, maps[:1])/2**20, counted_first_mib=each[0]['table']/2**20,
                together_mib=counted(found_in(c, maps))['table']/len(maps)/2**20)

if __name__=='__main__': print(json.dumps(child(json.loads(sys.argv[1]))))
