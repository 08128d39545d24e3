"Drawing a dataset: the same bytes whoever draws it, and whatever is killed, full or read-only on the way."
import json
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
import torch
from conftest import environment, mounted, until
from PIL import Image

from edmxl.data.dataset import KINDS, Echo, EchoDataset, EchoRow, write_dataset
from edmxl.data.label_maps import anatomy_labels
from edmxl.models.echo_model import EchoModel, save_echo_model
from edmxl.models.unet import UNetConfig

KILLS = int(os.environ.get('EDMXL_STRESS') or 3) # random moments at which a process is killed
N     = 64 + 24*KILLS                             # images

@pytest.fixture(scope='module')
def inputs(tmp_path_factory):
    "A folder with a tiny model of random numbers and five label maps."
    d = tmp_path_factory.mktemp('inputs')
    m = np.full((5,16,16), 2, np.uint8); m[:,:2] = 0
    for i in range(5): m[i,4:9,4+i:8+i] = 1
    rows = [EchoRow(f'map{i}', f'm{i}', '4CH', 'ED', 'train') for i in range(5)]
    echoes = [Echo(r, None, a, anatomy_labels(a)) for r,a in zip(rows, m, strict=True)]
    write_dataset(d/'maps', echoes, 16, 'toy', 'none', kinds=('sector','anatomy'))
    torch.manual_seed(0)
    net = EchoModel(UNetConfig(channels=16, mult=(1,2), blocks=1, heads=(0,2), middle_heads=2, spade_hidden=16)).eval()
    for p in net.parameters(): torch.nn.init.normal_(p, std=.05)
    save_echo_model(d/'model.safetensors', net, 16, licence='MIT', sampling=dict(solver='heun', steps=3))
    return d

def command(inputs, out, *words):
    "What follows `python -m edmxl` to draw N images."
    return ['generate', '--model', inputs/'model.safetensors', '--labels', inputs/'maps', '--out', out, '--seeds', f'0-{N-1}',
            '--device', 'cpu', '--precision', 'fp32', *words]

def start(words, module=('-m','edmxl'), omp=1, before=None, **env):
    "A process of the command."
    env = environment() | dict(OMP_NUM_THREADS=str(omp)) | env
    words = [sys.executable, *module, *map(str, words)]
    return subprocess.Popen(words, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, preexec_fn=before)

def run(words, **kw):
    "Exit code and errors of the command."
    p = start(words, **kw)
    return p.communicate()[1],p.returncode

def pictures(out):
    "Content of every picture that stands under its final name."
    return {f'{k}/{p.name}': p.read_bytes() for k in KINDS for p in (Path(out)/k).glob('[!.]*.png')}

def images(out): return len(list((out/'images').glob('[!.]*.png')))

def finished(out, reference):
    "The dataset is complete, equal to the reference, and nothing else is left in its folder."
    assert pictures(out)==pictures(reference)
    assert EchoDataset(out).hash==EchoDataset(reference).hash
    assert sorted(p.name for p in out.iterdir() if p.name!='.cache')==['anatomy','dataset.json','images','index.csv','plan.json','sector']
    assert not list(out.rglob('.*.part'))

@pytest.fixture(scope='module')
def reference(inputs):
    "The undisturbed dataset, by one process."
    err,code = run(command(inputs, inputs/'reference', '--nproc', 1))
    assert code==0, err
    plan = json.loads((inputs/'reference'/'dataset.json').read_text())['plan']
    assert (plan['micro_batch'], plan['threads'])==(8, 1) and len(pictures(inputs/'reference'))==3*N
    return inputs/'reference'

@pytest.mark.parametrize('nproc, omp', [(1,7), (2,2), (4,1)])
def test_bytes_do_not_depend_on_processes_or_threads(inputs, reference, tmp_path, nproc, omp):
    err,code = run(command(inputs, tmp_path/'D', '--nproc', nproc), omp=omp)
    assert code==0, err
    finished(tmp_path/'D', reference)

def test_another_micro_batch_is_recorded_and_close(inputs, reference, tmp_path):
    err,code = run(command(inputs, tmp_path/'D', '--micro-batch', 3, '--seeds', '0-23'))
    assert code==0, err
    assert EchoDataset(tmp_path/'D').meta['plan']['micro_batch']==3
    a,b = (EchoDataset(d).arrays().images[:24].astype(int) for d in (tmp_path/'D', reference))
    assert np.abs(a-b).max()<=1 and (a!=b).mean()<1e-3                      # the tolerance that sampling/30_generate states
    err,code = run(command(inputs, tmp_path/'D', '--seeds', '0-23'))
    assert code==2 and err.count('\n')==1 and 'micro_batch was 3, now 8' in err

def gone(p):
    "Whether a process has ended, even if nobody has asked how."
    try: return p.status()==psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess: return True

def test_torchrun(inputs, reference, tmp_path):
    "Killed with -9, torchrun takes its ranks with it; the same command draws what is missing."
    out,module = tmp_path/'D',('-m','torch.distributed.run','--standalone','--nproc-per-node','2','-m','edmxl')
    p = start(command(inputs, out), module)
    until(lambda: images(out) or p.poll() is not None)
    ranks = psutil.Process(p.pid).children(recursive=True)
    p.kill(); p.communicate()
    assert len(ranks)==2
    until(lambda: all(map(gone, ranks)), 20)
    assert 0<images(out)<N and pictures(out).items() <= pictures(reference).items()
    err,code = run(command(inputs, out), module=module)
    assert code==0, err
    finished(out, reference)

def test_torchrun_in_part(inputs, tmp_path):
    err,code = run(command(inputs, tmp_path/'D'), RANK='0', WORLD_SIZE='2')
    assert code==2 and err.count('\n')==1 and 'RANK, WORLD_SIZE are, LOCAL_RANK, MASTER_ADDR, MASTER_PORT are not' in err
    full = dict(RANK='2', WORLD_SIZE='2', LOCAL_RANK='0', MASTER_ADDR='localhost', MASTER_PORT='1')
    err,code = run(command(inputs, tmp_path/'D'), **full)
    assert code==2 and 'RANK=2' in err
    err,code = run(command(inputs, tmp_path/'D', '--nproc', 2), **full | dict(RANK='1'))
    assert code==2 and 'under torchrun' in err and not (tmp_path/'D').exists()


# disks

def short_files(): resource.setrlimit(resource.RLIMIT_FSIZE, (150, 150))

@pytest.mark.parametrize('nproc', [1, 2])
def test_full_disk(inputs, reference, tmp_path, nproc):
    "One sentence, nothing lost, and once there is room the same command finishes."
    out = tmp_path/'disk'/'D'
    with mounted(tmp_path/'disk', 'size=400k') as change:
        words = command(inputs, out, '--nproc', nproc)
        err,code = run(words) if change else run(words, before=short_files)
        assert code==1 and err.splitlines()[-1].startswith('edmxl: cannot write ') and 'Traceback' not in err, err
        assert 'Nothing is lost' in err and (not change or 'no space left on the device (0 MB free)' in err)
        assert pictures(out).items() <= pictures(reference).items()
        if change: assert images(out)>8 and change('size=20m')
        err,code = run(words)
        assert code==0, err
        finished(out, reference)

def test_read_only_disk(inputs, tmp_path):
    with mounted(tmp_path/'disk', 'size=1m') as change:
        if change: assert change('ro')
        else: (tmp_path/'disk').chmod(0o555)
        err,code = run(command(inputs, tmp_path/'disk'/'D'))
        assert code==2 and err.count('\n')==1 and ('read-only' if change else 'no permission') in err, err
        assert not list((tmp_path/'disk').iterdir())

def test_too_little_space(inputs, tmp_path):
    with mounted(tmp_path/'disk', 'size=8k') as change:
        if change is None: return # a folder has no size
        err,code = run(command(inputs, tmp_path/'disk'/'D'))
        assert code==2 and 'MB are needed' in err and not list((tmp_path/'disk').iterdir())


# kill -9

def draws(p):
    try: return 'sampling.workers' in ' '.join(p.cmdline())
    except psutil.NoSuchProcess: return False               # it has just ended

def test_killed_at_random_moments(inputs, reference, tmp_path):
    """The parent or one of three workers is killed, as it starts or while images appear: no picture is ever cut short, no worker
    outlives its parent, and the dataset ends up the same. `EDMXL_STRESS=20` kills twenty times."""
    out,dice,p,workers_killed,left = tmp_path/'D',random.Random(KILLS),None,0,KILLS
    whole = pictures(reference)
    def ended(p, workers_killed, out):
        err = p.communicate()[1]
        assert p.returncode==0, err
        if workers_killed: assert 'is started again for what is missing' in err
        finished(out, reference)
    while left:
        if p is None: p,workers_killed = start(command(inputs, out, '--nproc', 3)),0
        have = images(out)
        if dice.random()<.3: time.sleep(dice.uniform(0, 2))                 # perhaps before anything is there
        else:
            more = dice.randint(1, max(1, (N-have)//(2*left)))
            until(lambda have=have, more=more, p=p, out=out: images(out)>=have+more or p.poll() is not None)
        if p.poll() is not None:                                            # it was quicker; another dataset for the kills that are left
            ended(p, workers_killed, out)
            p,out = None,tmp_path/f'{out.name}+'
            continue
        workers = [*filter(draws, psutil.Process(p.pid).children())]
        victim = dice.choice([p, *workers]) if workers_killed<3 else p      # a fourth worker would be one too many
        victim.kill()
        left -= 1
        workers_killed += victim is not p
        if victim is p:
            p.communicate()
            until(lambda workers=workers: all(map(gone, workers)), 20)
            p = None
        for name in pictures(out): Image.open(out/name).load()
        assert pictures(out).items() <= whole.items()
    if p is None: p,workers_killed = start(command(inputs, out, '--nproc', 3)),0
    ended(p, workers_killed, out)

def test_two_at_once_and_ctrl_c(inputs, reference, tmp_path):
    "While one command works (it is stopped for the time being), the same once more is refused; Ctrl-C ends all its processes."
    p = start(command(inputs, tmp_path/'D', '--nproc', 2), before=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    until(lambda: images(tmp_path/'D') or p.poll() is not None)
    workers = psutil.Process(p.pid).children()
    p.send_signal(signal.SIGSTOP)
    err,code = run(command(inputs, tmp_path/'D'))
    p.send_signal(signal.SIGINT); p.send_signal(signal.SIGCONT)
    assert code==2 and err.count('\n')==1 and f'another edmxl process (pid {p.pid}) works in' in err
    err = p.communicate()[1]
    assert p.returncode==130 and 'interrupted' in err and 'Traceback' not in err
    assert all(map(gone, workers)) and pictures(tmp_path/'D').items() <= pictures(reference).items()
    assert not (tmp_path/'D'/'.lock').exists()
