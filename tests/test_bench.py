"The benchmark: its plain path is ours the long way, and a run is written whole, kept and resumed. No time is asserted."
import json
import math
import subprocess
import sys
from pathlib import Path

import pytest
import torch

BENCH = Path(__file__).parent.parent/'bench'
sys.path.insert(0, str(BENCH))
import run as bench  # noqa: E402
from cases import build, case, default_cases, label_maps  # noqa: E402
from plain import PlainSPADE, plain, spades, unconditioned  # noqa: E402
from speed import Setup, evaluate, gradients, inputs, losses  # noqa: E402
from timing import alternate, difference, flop, ratio  # noqa: E402

CPU = torch.device('cpu')
QUICK = Setup(CPU, quick=True)
FAMILIES = pytest.mark.parametrize('name', ['tiny', 'tiny-song'])
PATCHED = ['tiny', 'tiny-song', 'demo-edm'] # the last one works on patches

@pytest.mark.parametrize('name', PATCHED)
def test_plain_path_equals_ours(name):
    c = case(name)
    d,(x,maps) = build(c, CPU),inputs(c, QUICK, 2)
    maps[0,:5,:7] = 255                                        # no label there
    answer = evaluate(d.bind(maps), x)
    assert difference(evaluate(plain(d).bind(maps), x), answer)<1e-5
    assert difference(evaluate(unconditioned(d).bind(), x), answer)>1e-2
    assert difference(evaluate(d.bind(maps.flip(2)), x), answer)>1e-3

@pytest.mark.parametrize('name', PATCHED)
def test_gradients_of_the_plain_path_equal_ours(name):
    c = case(name)
    d,loss = build(c, CPU),losses(c, QUICK, 2)
    ours,full = gradients(d, loss),gradients(plain(d), loss)
    assert ours.keys()==full.keys()=={n for n,_ in d.named_parameters()}
    assert max(difference(ours[n], g) for n,g in full.items())<1e-4

@FAMILIES
def test_plain_path_is_a_contiguous_copy(name):
    d = build(case(name), CPU)
    ours,full = dict(d.named_parameters()),{n.replace('net.net.', 'net.'): p for n,p in plain(d).named_parameters()}
    assert all(torch.equal(p, full[n]) and full[n].is_contiguous() for n,p in ours.items())
    assert all(not isinstance(m, PlainSPADE) for m in d.modules()) # the denoiser itself is left as it was

@FAMILIES
def test_network_alone_has_no_operations_of_spade(name):
    c = case(name)
    d,(x,maps) = build(c, CPU),inputs(c, QUICK, 2)
    bound,alone,full = d.bind(maps),unconditioned(d),plain(d)
    assert not spades(alone) and len(spades(full))==len(d.net.spades())
    evaluate(bound, x)                                                        # binds
    once = {k: flop(lambda f=f: evaluate(f, x)) for k,f in dict(ours=bound, alone=alone.bind(), full=full.bind(maps)).items()}
    assert once['ours']==once['alone']                                        # a bound SPADE is a look-up
    p2,n,pixels = c.unet.patch**2,c.unet.n_labels,lambda level: 2*(c.size//(c.unet.patch*2**level))**2
    extra = sum(pixels(l)*2*9*s.mlp_gamma.in_channels*(n*p2 + 2*s.norm.num_channels) for s,l in d.net.spades())
    assert once['full']==once['alone']+extra

def test_new_networks_answer_something():
    d = build(case('tiny'), CPU)
    assert all(p.any() for p in d.parameters() if p.ndim==4)
    assert torch.equal(next(build(case('tiny'), CPU).parameters()), next(d.parameters()))

def test_label_maps_are_distinct():
    m = label_maps(6, 32, None)
    assert m.shape==(6,32,32) and len(m.flatten(1).unique(dim=0))==6

def test_paths_take_turns():
    order = []
    seconds = alternate({k: (lambda k=k: order.append(k)) for k in 'ab'}, 3, CPU)
    assert order==list('abbaab') and all(len(s)==3 for s in seconds.values())
    assert ratio(dict(a=[2.,8.,9.], b=[1.,2.,3.]), 'a', 'b')==3

def test_defaults():
    assert default_cases(CPU, False)==['width-64', 'edm-l64']
    assert default_cases(torch.device('cuda'), False)==['width-64', 'vp', 've', 'edm', 'edm-l128', 'edm-l64', 'sdm']


def run(out, *words):
    words = [sys.executable, str(BENCH/'run.py'), '--quick', '--device', 'cpu', '--rounds', '1', '-o', str(out), *words]
    return subprocess.run(words, capture_output=True, text=True)

def numbers(obj):
    "Every number in a JSON value."
    if isinstance(obj, dict | list): return [n for v in (obj.values() if isinstance(obj, dict) else obj) for n in numbers(v)]
    return [obj] if isinstance(obj, int | float) else []

def test_quick_run_is_kept_and_resumed(tmp_path):
    p = run(tmp_path, '--only', 'peak,condition')
    assert p.returncode==0, p.stderr
    first = json.loads((tmp_path/'bench.json').read_text())
    assert list(first['results'])==['peak', 'condition']
    p = run(tmp_path)                                                         # goes on after an interruption
    assert p.returncode==0, p.stderr
    assert 'peak: kept' in p.stdout and 'condition: kept' in p.stdout and 'sampling tiny ...' in p.stdout
    got = json.loads((tmp_path/'bench.json').read_text(), parse_constant=pytest.fail)
    assert all(got['results'][k]==r for k,r in first['results'].items())
    assert {k.split()[0] for k in got['results']}==\
        {'peak','sampling','training','seeds','memory','condition','scaling','spade','loader','steps','generation'}
    assert all(math.isfinite(n) for n in numbers(got)) and {'cpu','device_name','commit','date','amx'} <= got['machine'].keys()
    assert got['results']['sampling tiny']['difference_evaluation']['ours']<1e-5
    assert got['results']['training tiny']['difference_gradient']['ours']<1e-4
    c = got['results']['condition']
    assert c['computed_mib']==pytest.approx(c['counted_first_mib'], abs=1e-6) # counted is what is really kept
    g = got['results']['generation']['runs']
    assert [r['images'][-1] for r in g.values()]==[32, 128] and all(r['images'][0]==8 for r in g.values())
    assert got['results']['loader']['kb_per_image']=={'PNG, one-hot': 11.264, 'memory-mapped': .512}     # 11 floats a pixel against 2 bytes
    assert got['results']['steps']['steps'][-1]==60 and got['results']['steps']['late_mib']>100
    report = (tmp_path/'report.md').read_text()
    for f in ('speedup','scaling','peak','spade','generation'): assert f'{f}.png' in report and (tmp_path/f'{f}.png').stat().st_size>1000
    assert report.count('| limit |')>=4 and 'no figure means anything' in report

    p = run(tmp_path, '--cases', 'tiny-song')
    assert p.returncode==2 and 'another configuration' in p.stderr and p.stderr.count('\n')==1

def test_messages(tmp_path):
    for words,part in ((('--only','nothing'), 'unknown measurement "nothing"'), (('--cases','nothing'), 'unknown case "nothing"'),
                       (('--maps',str(tmp_path/'none')), 'none not found')):
        p = run(tmp_path, *words)
        assert p.returncode==2 and part in p.stderr and p.stderr.count('\n')==1

def test_interrupted_run_keeps_its_part(tmp_path, monkeypatch, capsys):
    calls = []
    def interrupted(): raise KeyboardInterrupt
    def short_of_memory(): raise torch.OutOfMemoryError('GPU is full. Tried to allocate')
    def made(fn, name): return lambda: calls.append(name) or fn()
    def go(**fns):
        monkeypatch.setattr(bench, 'measurements', lambda *_: {k: made(f, k) for k,f in fns.items()})
        return bench.main(['--quick', '--device', 'cpu', '-o', str(tmp_path)])
    with pytest.raises(KeyboardInterrupt): go(a=lambda: dict(x=1), b=interrupted, c=lambda: dict(x=3))
    assert list(json.loads((tmp_path/'bench.json').read_text())['results'])==['a']
    assert go(a=interrupted, b=lambda: dict(x=2), c=short_of_memory)==0      # what is kept is not measured again
    assert 'c: GPU is full' in (tmp_path/'report.md').read_text()
    assert go(a=interrupted, b=interrupted, c=lambda: dict(x=3))==0          # what failed is
    assert calls==list('ab'+'bc'+'c')
    assert [r['x'] for r in json.loads((tmp_path/'bench.json').read_text())['results'].values()]==[1,2,3]
    with pytest.raises(ValueError): go(d=lambda: dict(x=math.nan))            # strict JSON; the file stays whole
    assert len(json.loads((tmp_path/'bench.json').read_text())['results'])==3
