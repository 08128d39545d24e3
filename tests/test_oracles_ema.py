"Averages of weights against the numbers of the reference, against averages tracked directly, and at flat memory."
import math
import re
import threading
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from edmxl.data.files import BadInput
from edmxl.training.ema import exponent, half_life_beta, power_beta, relative_width, update_ema
from edmxl.training.post_hoc import (
    MAX_ERROR,
    choose_width,
    coefficients,
    inner_products,
    profile,
    profile_error,
    reachable,
    read_snapshots,
    reconstruct,
    write_snapshot,
)


@pytest.fixture(scope='module')
def oracle(oracles): return oracles('edm2_phema')[1]

def close(a, b, eps=1e-9):
    a, b = np.asarray(a, float), np.asarray(b, float)
    return a.shape==b.shape and abs(a-b).max()<=eps*abs(b).max()

def test_half_life(oracles):
    rows = oracles('edm_ema_beta')[1]
    assert rows
    for r in rows:
        assert close(half_life_beta(r['cur_nimg'], r['batch'], 1000*r['halflife_kimg'], r['rampup_ratio']), r['beta']), r

def test_exponents_and_betas(oracle):
    for s, gamma in oracle['exp_from_std'].items(): assert close(exponent(float(s)), gamma)
    for gamma, s in oracle['std_from_exp'].items(): assert close(relative_width(float(gamma)), s)
    for r in oracle['beta']: assert close(power_beta(r['t_next'], r['t_delta'], r['std']), r['beta']), r

def test_profiles(oracle):
    for r in oracle['response']:
        p = profile(np.arange(r['len']), r['ofs'], r['std'])
        assert close(p/p.sum(), r['values'])
    for r in oracle['correlation']: assert close(inner_products([r['a']], [r['b']])[0,0], r['value']), r

def test_coefficients(oracle):
    for r in oracle['solve_posthoc']:
        c = coefficients(list(zip(r['in_ofs'], r['in_std'], strict=True)), r['out_ofs'], r['out_std'])
        assert close(c, r['coefficients']) and math.isclose(c.sum(), r['sum'], rel_tol=1e-12)

class Weight(nn.Module):
    def __init__(self, x):
        super().__init__()
        self.w = nn.Parameter(torch.tensor([x], dtype=torch.float64))

def track(trajectory, batch, rule, start=0.):
    "The average after each step, by `update_ema` on a module."
    net, ema, out = Weight(0.), Weight(start), []
    for i, x in enumerate(trajectory):
        nn.init.constant_(net.w, x)
        update_ema(ema, net, rule((i+1)*batch, batch))
        out.append(ema.w.item())
    return out

def test_tracking(oracle):
    t = oracle['tracking']
    for j, s in enumerate(t['stds']):
        here = track(t['trajectory'], t['batch'], lambda n, b, s=s: power_beta(n, b, s), 1e6)   # a start to be forgotten
        for snap in t['snapshots']: assert close(here[snap['nimg']//t['batch']-1], snap['ema'][j])
    old = t['traditional']
    here = track(t['trajectory'], t['batch'], lambda n, b: half_life_beta(n, b, old['halflife_nimg'], old['rampup_ratio']))
    for snap in t['snapshots']: assert close(here[snap['nimg']//t['batch']-1], snap['traditional'])

def test_the_oracles_snapshots_make_other_averages(oracle, tmp_path):
    "From its stored averages alone; off by no more than the distance of the profiles allows (Cauchy and Schwarz)."
    t = oracle['tracking']
    x, batch, last = np.array(t['trajectory']), t['batch'], t['snapshots'][-1]['nimg']
    for snap, (j, s) in product(t['snapshots'], enumerate(t['stds'])):
        write_snapshot(tmp_path, dict(w=torch.tensor([snap['ema'][j]], dtype=torch.float64)), snap['nimg'], s)
    snaps = read_snapshots(tmp_path)
    spread = math.sqrt(batch*((x-x[-60:].mean())**2).sum())
    for s in (.045, .06, .07, .08, .09, .12):
        truth = track(x, batch, lambda n, b, s=s: power_beta(n, b, s))[-1]
        made = reconstruct(snaps, s)['w'].item()
        bound = profile_error(snaps, last, s)*math.sqrt(inner_products([(last, s)], [(last, s)])[0,0])*spread
        assert abs(made-truth)<=bound, s
        edges = np.arange(len(x)+1)*batch
        weight = lambda T, s, e=edges: np.diff(np.minimum(e/T, 1)**(exponent(s)+1))       # of each step, in closed form
        w = coefficients(snaps, last, s)@[weight(*p[:2]) for p in snaps]
        assert math.isclose(made, w@x, rel_tol=1e-9)                                      # and exactly what it should be

@given(st.floats(.001, 12**-.5), st.floats(.01, 1), st.integers(1, 10**6))
def test_every_width_has_its_exponent(s, share, images):
    assert math.isclose(relative_width(exponent(s)), s, rel_tol=1e-6)
    assert 0<=power_beta(images, max(1, int(share*images)), s)<1

class Walk(nn.Module):
    "Two tensors that wander, one that stays, and a counter."
    def __init__(self):
        super().__init__()
        self.conv, self.gain = nn.Conv2d(4, 8, 3), nn.Parameter(torch.ones(()))
        self.register_buffer('table', torch.linspace(0, 1000, 77))
        self.register_buffer('count', torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def step(self, g):
        for p in self.parameters(): p.add_(.1*torch.randn(p.shape, generator=g))
        self.count += 1

MOMENTS, STEPS, BATCH, ASKED, KEPT = 32, 1600, 5, (.03,.07,.13,.2), (.05,.1)

@pytest.fixture(scope='module')
def walk(tmp_path_factory):
    "Snapshots of a random walk; averages of other widths, tracked beside it; the last step."
    folder, g, net = tmp_path_factory.mktemp('snapshots'), torch.Generator().manual_seed(0), Walk()
    averages = {s: Walk() for s in ASKED+KEPT}
    for n in range(1, STEPS+1):
        net.step(g)
        for s, m in averages.items(): update_ema(m, net, power_beta(n*BATCH, BATCH, s))
        if n%(STEPS//MOMENTS)==0:
            for s in KEPT: write_snapshot(folder, averages[s].state_dict(), n*BATCH, s, seed=0)
    return read_snapshots(folder), {s: m.state_dict() for s, m in averages.items()}, net.state_dict()

def distance(a, b): return math.sqrt(sum((a[k]-b[k]).double().square().sum().item() for k in ('conv.weight','conv.bias','gain')))

def test_a_random_walk(walk):
    "The more moments, the nearer; the most by far nearer than the stored averages are; constants and counters kept."
    snaps, averages, net = walk
    for s in ASKED:
        errors = []
        for n in (8, 16, 32):
            have = [p for p in snaps if p.images%(STEPS*BATCH//n)==0]
            if s in reachable(have): errors.append(distance(reconstruct(have, s), averages[s]))
            else:
                with pytest.raises(BadInput, match='would be off'): reconstruct(have, s)
        assert errors and all(a>2*b for a, b in zip(errors, errors[1:], strict=False)), (s, errors)
        assert errors[-1]<.02*min(distance(averages[k], averages[s]) for k in KEPT), (s, errors)
        made = reconstruct(snaps, s)
        assert torch.equal(made['table'], net['table']) and made['count']==STEPS and made['gain'].shape==()
        Walk().load_state_dict(made)

def test_what_was_stored_comes_back(walk):
    snaps, averages, _ = walk
    for s, k in product(KEPT, averages[.05]): assert torch.equal(reconstruct(snaps, s)[k], averages[s][k])
    assert choose_width(snaps, lambda state: distance(state, averages[.07]), (.05,.06,.07,.08))[1]==.07

def test_error_falls_with_the_square_of_the_spacing():
    evenly = lambda n: [((k+1)/n, s) for k in range(n) for s in KEPT]
    for s in (.03, .06, .08, .15):
        errors = [profile_error(evenly(n), 1, s) for n in (32, 64, 128)]
        assert all(abs(math.log2(a/b)-2)<.2 for a, b in zip(errors, errors[1:], strict=False)), (s, errors)
    lo, hi = reachable(evenly(32))[[0,-1]]
    assert lo<.02 and .25<hi<.27 and profile_error(evenly(32), 1, hi+.001)>MAX_ERROR

def test_memory_is_one_network(tmp_path):
    "24 snapshots of 16 MB: beside the result, little is held at any moment."
    status = Path('/proc/self/status')
    if not status.exists() or 'RssAnon' not in status.read_text(): pytest.skip('needs the memory figures of Linux')
    anonymous = lambda: int(re.search(r'RssAnon:\s+(\d+)', status.read_text())[1])/1024
    state = {f'layer{i}': torch.randn(512, 1024) for i in range(8)}
    for k in range(12):
        for s in KEPT: write_snapshot(tmp_path, {n: v+k for n, v in state.items()}, 100*(k+1), s)
    snaps, peak, done = read_snapshots(tmp_path), [0.], threading.Event()
    def watch():
        while not done.wait(.002): peak[0] = max(peak[0], anonymous())
    before, watcher = anonymous(), threading.Thread(target=watch)
    watcher.start()
    try: made = reconstruct(snaps, .08)
    finally:
        done.set()
        watcher.join()
    c = coefficients(snaps, 1200, .08)
    assert torch.allclose(made['layer0'], state['layer0'] + float(c@[s.images/100-1 for s in snaps]), atol=1e-5)
    assert peak[0]-before<2.5*16, peak[0]-before
