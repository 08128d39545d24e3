"""Measurements of time: drawing, training, seeds of one map, scaling, SPADE alone. Ours and the plain path side by side in one process."""
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

import torch
from torch import Tensor, nn

from cases import Case, build, case, label_maps, loss_of
from edmxl.models.denoiser import Denoiser
from edmxl.models.neighbourhoods import neighbourhoods
from edmxl.models.precision import autocast, fast_bf16
from edmxl.models.spade import SPADE
from edmxl.sampling.noise_levels import network_sigmas
from edmxl.sampling.steps import last, sample
from plain import PlainSPADE, plain, unconditioned
from timing import alternate, difference, flop, matmul_peak, medians, ratio

SIGMA = 0.5 # noise level of single evaluations: that of the data, so that the network decides half of the answer

@dataclass(frozen=True)
class Setup:
    "How everything is measured."
    device:torch.device        # where networks run
    rounds:int=3               # of which medians are taken
    quick:bool=False           # tiny sizes, for tests
    maps:str|None=None         # echo dataset that gives label maps; None for phantoms

    def drawn(self, c:Case)->int:
        "Images drawn at once."
        return 8 if self.device.type=='cuda' else c.batch
    @property
    def least(self)->float:
        "Seconds that short calls are repeated for."
        return 0. if self.quick else .2
    @property
    def trained(self)->int:
        "Images of a training step, and seeds of one map."
        return 2 if self.quick else 8
    @property
    def precisions(self)->list[str]:
        "Half precisions that this device multiplies in hardware."
        return ['bf16']*fast_bf16(self.device) + ['fp16']*(self.device.type=='cuda')

def inputs(
    c:Case, s:Setup,   # what and how
    b:int,             # images
    size:int|None=None # pixels per side; None as the case says
)->tuple[Tensor,Tensor]: # `(b,c,size,size)` standard normal, `(b,H,W)` label maps
    "Noise and distinct label maps."
    size,g = size or c.size,torch.Generator().manual_seed(1)
    x = torch.randn(b, c.unet.image_channels, size, size, generator=g)
    return x.to(s.device),label_maps(b, c.map_size*size//c.size, s.maps).to(s.device)

@torch.no_grad()
def evaluate(bound:Callable, x:Tensor, precision:str='fp32')->Tensor:
    "One evaluation at `SIGMA`."
    with autocast(x.device, precision): return bound(x, torch.tensor(SIGMA))



# drawing images

@torch.no_grad()
def draw(d:Denoiser, maps:Tensor, x:Tensor, sigmas:Tensor, precision:str='fp32')->Tensor:
    "Heun's sampler from the label maps on, binding included."
    with autocast(x.device, precision): return last(sample(d.bind(maps), sigmas[0].float().item()*x, sigmas))

def kept(fn:Callable, where:dict, name:str)->Callable:
    "`fn` that leaves its answer in `where`."
    def run(): where[name] = fn()
    return run

def sampling(c:Case, s:Setup)->dict:
    "18 Heun steps of a batch of distinct maps, for real."
    d = build(c, s.device)
    nets,(x,maps),sigmas = dict(plain=plain(d), ours=d),inputs(c, s, s.drawn(c)),network_sigmas(3 if s.quick else 18, c.scaling)
    nfe = 2*(len(sigmas)-1)-1
    one,images,flops = {},{},{}
    for k,net in nets.items():                                           # warm up, count, keep one evaluation
        bound = net.bind(maps)
        first = flop(lambda bound=bound: evaluate(bound, x))
        each = flop(kept(partial(evaluate, bound, x), one, k))
        flops[k] = first + (nfe-1)*each
    flops['network'] = nfe*flop(lambda: evaluate(unconditioned(d).bind(), x))
    for p in s.precisions: one[p] = evaluate(d.bind(maps), x, p)
    paths = {k: partial(draw, net, maps, x, sigmas) for k,net in nets.items()}
    paths |= {p: partial(paths['ours'], precision=p) for p in s.precisions}
    seconds = alternate({k: kept(f, images, k) for k,f in paths.items()}, s.rounds, s.device)
    fast = [k for k in paths if k!='plain']
    return dict(case=c.name, batch=len(x), nfe=nfe, rounds=seconds, seconds=medians(seconds), flop=flops,
                limit=flops['plain']/flops['network'], speedup={k: ratio(seconds, 'plain', k) for k in fast},
                difference_evaluation={k: difference(one[k], one['plain']) for k in fast},
                difference_sample={k: difference(images[k], images['plain']) for k in fast})


# training

def gradients(d:Denoiser, loss:Callable[[Denoiser],Tensor], precision:str='fp32')->dict[str,Tensor]:
    "Gradients of all parameters by name, taken away from them."
    with autocast(next(d.parameters()).device, precision): value = loss(d)
    value.backward()
    out = {n.replace('net.net.', 'net.'): p.grad for n,p in d.named_parameters() if p.grad is not None}
    for p in d.parameters(): p.grad = None
    return out

def losses(c:Case, s:Setup, b:int)->Callable[[Denoiser],Tensor]:
    "The case's loss on one batch, as a function of the denoiser; all of the condition is worked out inside it."
    fn,(noise,maps),g = loss_of(c),inputs(c, s, b),torch.Generator().manual_seed(2)
    x0 = (0.5*torch.randn(noise.shape, generator=g)).to(noise)
    sigma = fn.levels(torch.randn(b, generator=g)).to(noise)
    return lambda d: fn(lambda y,t: d(y, t, maps), x0, sigma, noise).mean()

def step(d:Denoiser, opt:torch.optim.Optimizer, loss:Callable, precision:str='fp32'):
    "A training step."
    opt.zero_grad()
    with autocast(next(d.parameters()).device, precision): value = loss(d)
    value.backward()
    opt.step()

def sgd(d:Denoiser)->torch.optim.Optimizer:
    "Plain gradient descent that changes nothing: no moments to hold."
    return torch.optim.SGD(d.parameters(), lr=0., fused=True)

def adam(d:Denoiser, grads:dict[str,Tensor])->torch.optim.Optimizer:
    "Adam after a first step; its rate is 0 so that the numbers stay those that were compared."
    opt = torch.optim.Adam(d.parameters(), lr=0., betas=(.9,.99), fused=True)
    for n,p in d.named_parameters(): p.grad = grads.get(n.replace('net.net.', 'net.'))
    opt.step(); opt.zero_grad()
    return opt

def training(c:Case, s:Setup)->dict:
    "A training step on distinct maps, nothing bound: neighbourhoods and tables are part of it."
    d = build(c, s.device)
    nets,loss = dict(plain=plain(d), ours=d),losses(c, s, s.trained)
    grads,flops = {},{}
    for k,net in nets.items(): flops[k] = flop(kept(partial(gradients, net, loss), grads, k)) # without dropout
    bare = unconditioned(d)
    few = inputs(c, s, 1)[0]
    flops['network'] = s.trained*flop(lambda: gradients(bare, lambda n: n(few, torch.tensor(SIGMA)).square().mean()))
    halves = [p for p in s.precisions if p=='bf16']                      # gradients overflow in fp16
    differ = dict(ours=max(difference(grads['ours'][n], g) for n,g in grads['plain'].items()))
    error = dict(ours=_error(grads['ours'], grads['plain'])) | {p: _error(gradients(d, loss, p), grads['plain']) for p in halves}
    light = c.slow and s.device.type=='cpu'                              # moments of two large networks would not fit beside them
    opts = {k: sgd(net) if light else adam(net, grads[k]) for k,net in nets.items()}
    grads.clear()
    paths = {k: partial(step, net.train(), opts[k], loss) for k,net in nets.items()}
    paths |= {p: partial(paths['ours'], precision=p) for p in halves}
    rounds = max(min(s.rounds, 2), s.rounds-1) if c.slow and s.device.type=='cpu' else s.rounds
    seconds = alternate(paths, rounds, s.device)
    return dict(case=c.name, batch=s.trained, rounds=seconds, seconds=medians(seconds), flop=flops, limit=flops['plain']/flops['network'],
                speedup={k: ratio(seconds, 'plain', k) for k in paths if k!='plain'}, difference_gradient=differ, error_gradient=error)

def _error(a:dict[str,Tensor], b:dict[str,Tensor])->float:
    "Relative error of a gradient as one long vector."
    return float((sum((a[n]-b[n]).square().sum() for n in b)/sum(g.square().sum() for g in b.values())).sqrt())


# what is left of SPADE

def seeds(c:Case, s:Setup)->dict:
    "One evaluation of many seeds of one map against the network without conditioning; and of distinct maps, and of the plain path."
    d,b = build(c, s.device),s.trained
    x,maps = inputs(c, s, b)
    bound = dict(network=unconditioned(d).bind(), one_map=d.bind(maps[:1]), distinct_maps=d.bind(maps), plain=plain(d).bind(maps))
    paths = {k: partial(evaluate, f, x) for k,f in bound.items()}
    paths |= {f'bind_{n}': partial(bind, d, maps[:n], c.size) for n in (1, b)}
    seconds = alternate(paths, s.rounds, s.device, least=s.least)
    left = {k: ratio(seconds, k, 'network')-1 for k in ('one_map', 'distinct_maps', 'plain')}
    return dict(case=c.name, batch=b, rounds=seconds, seconds=medians(seconds), left=left)

@torch.no_grad()
def bind(d:Denoiser, maps:Tensor, size:int)->list:
    "All that depends on the label maps."
    return d.net.condition(maps, (size, size), maps.device)


# scaling

def scaling(c:Case, s:Setup)->dict:
    "Seconds per image of one bound evaluation over batch, resolution and seeds of one map."
    d = build(c, s.device)
    nets = dict(plain=plain(d), ours=d, network=unconditioned(d))
    sizes = [16,32] if s.quick else [16,32,64,128]
    batches,many = ([1,2],[1,2]) if s.quick else ([1,2,4,8],[1,2,4,8,16])
    return dict(case=c.name,
                batch=[dict(batch=b, **_per_image(nets, s, *inputs(c, s, b))) for b in batches],
                resolution=[dict(resolution=z, **_per_image(nets, s, *inputs(c, s, 1, z))) for z in sizes],
                seeds=[dict(seeds=b, **_seeds(c, nets, s, b)) for b in many])

def _seeds(c:Case, nets:dict, s:Setup, b:int)->dict[str,float]:
    maps = inputs(c, s, 1)[1]
    return _per_image(nets, s, torch.randn(b, c.unet.image_channels, c.size, c.size).to(s.device), maps)

def _per_image(nets:dict, s:Setup, x:Tensor, maps:Tensor)->dict[str,float]:
    "Seconds per image of every path, once bound."
    bound = {k: net.bind(None if k=='network' else maps) for k,net in nets.items()}
    paths = {k: partial(evaluate, f, x) for k,f in bound.items()}
    return {k: t/len(x) for k,t in medians(alternate(paths, s.rounds, s.device, least=s.least)).items()}


# SPADE alone

SHAPES = [(1,256,192), (2,128,192), (8,64,192), (8,64,64), (8,32,384), (8,16,576), (8,8,768)] # batch, pixels per side, channels

def spade(c:Case, s:Setup)->dict:
    "One SPADE by the convolutions, by the table, and by whichever it takes itself, for the shapes of the networks."
    shapes = [(1,16,16), (2,8,32)] if s.quick else SHAPES
    return dict(rows=[_one_spade(*shape, s, c.unet.spade_hidden, c.unet.n_labels) for shape in shapes])

def _one_spade(b:int, size:int, channels:int, s:Setup, hidden:int, n_labels:int)->dict:
    "Milliseconds of each way, forward alone and with gradients."
    torch.manual_seed(0)
    ours = SPADE(channels, n_labels, hidden).to(s.device)
    maps = label_maps(b, max(16, size), s.maps).to(s.device)
    n = neighbourhoods(maps, n_labels, (size, size))
    hot = nn.functional.one_hot(maps.long(), n_labels).movedim(-1, 1).float().contiguous()
    x = torch.randn(b, channels, size, size, device=s.device)
    full,near = PlainSPADE(_copy(ours, s)),x.contiguous(memory_format=torch.channels_last)
    with torch.no_grad(): ready = ours.table(n)
    forward = dict(convolutions=lambda: full(x, hot), table=lambda: ours(near, ours.table(n)), ready=lambda: ours(near, ready))
    both = dict(convolutions=lambda y: full(y, hot), table=lambda y: ours(y, ours.table(n)), maps=lambda y: ours(y, ours.maps(n)),
                chosen=lambda y: ours(y, ours.modulation(n)))
    index = dict(index=lambda: neighbourhoods(maps, n_labels, (size, size)))
    t = {f'{k} forward': _no_grad(f) for k,f in forward.items()} | index
    t |= {f'{k} both': partial(_both, f, x if k=='convolutions' else near) for k,f in both.items()}
    ms = {k: 1e3*v for k,v in medians(alternate(t, s.rounds, s.device, least=s.least)).items()}
    return dict(batch=b, size=size, channels=channels, hidden=len(n.labels), rows=len(n.rows), pixels=n.index.numel(), ms=ms,
                chosen='table' if ours.prefers_table(n) else 'convolutions')

def _copy(spade:SPADE, s:Setup)->SPADE:
    "Another of the same numbers."
    out = SPADE(spade.norm.num_channels, spade.n_labels, spade.mlp_gamma.in_channels).to(s.device)
    out.load_state_dict(spade.state_dict())
    return out

def _no_grad(fn:Callable)->Callable: return torch.no_grad()(fn)

def _both(fn:Callable, x:Tensor):
    "Forward and backward, to the features and to the parameters."
    y = fn(x.requires_grad_())
    y.backward(x.detach())


# the machine

def peak(s:Setup)->dict:
    "Measured peak of matrix products, in each precision that matters here, in FLOP/s."
    n = 256 if s.quick else 8192 if s.device.type=='cuda' else 2048
    types = dict(fp32=torch.float32, bf16=torch.bfloat16, fp16=torch.float16)
    return dict(n=n, flops={k: matmul_peak(types[k], s.device, n, s.rounds) for k in ('fp32', *s.precisions)})

def measurements(s:Setup, names:list[str])->dict[str,Callable[[],dict]]:
    "Every measurement by name, in the order they are made."
    from generation import generation
    from loader import loader
    from memory import condition, memory
    from training import steps
    out = dict(peak=partial(peak, s))
    cs = [case(n) for n in names]
    for what in (sampling, training, seeds, memory): out |= {f'{what.__name__} {c.name}': partial(what, c, s) for c in cs}
    edm = replace(case('edm'), unet=replace(case('edm').unet, channels=16, heads=(0,)*4, middle_heads=1)) if s.quick else case('edm')
    first = cs[0]
    return out | dict(condition=partial(condition, edm, s), scaling=partial(scaling, first, s), spade=partial(spade, first, s),
                      loader=partial(loader, s), steps=partial(steps, s), generation=partial(generation, s))
