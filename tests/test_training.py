"Trainings by several processes: the same numbers as by one, and nothing lost whoever dies. Faults are injected for real."
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
import torch
from conftest import ROOT, edmxl, environment, mounted, until

from edmxl.data.files import BadInput, read_png
from edmxl.data.folders import read_lines
from edmxl.data.phantom import write_phantom
from edmxl.training.checkpoints import checkpoints, read_facts, read_tensors

KILLS = int(os.environ.get('EDMXL_STRESS') or 2) # random moments at which a process is killed
STEPS = 60

@pytest.fixture(scope='module')
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp('data')/'phantom'
    write_phantom(folder, 16, (4,1,1), 0)
    return folder

def words(data, out, **more):
    given = dict(data=data, steps=STEPS, batch=4, snapshots=0, device='cpu', precision='fp32', threads=1, out=out) | more
    return [w for k,v in given.items() for w in ('-p', k, str(v))]

def quiet(path=ROOT): return environment(path) | dict(OMP_NUM_THREADS='1', GLOO_SOCKET_IFNAME='lo', PYTHONUNBUFFERED='1')

def torchrun(*args, nproc=2, **kw):
    cmd = [sys.executable, '-m', 'torch.distributed.run', '--standalone', f'--nproc-per-node={nproc}', *map(str, args)]
    return subprocess.Popen(cmd, env=quiet(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True, **kw)

def command(*args):
    cmd = [sys.executable, '-m', 'edmxl', *map(str, args)]
    return subprocess.Popen(cmd, env=quiet(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
                            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))

def weights(folder):
    "All numbers of a model file."
    from safetensors.torch import load_file
    return load_file(Path(folder, 'model.safetensors'))

def same(a, b): return a.keys()==b.keys() and all(torch.equal(a[k], b[k]) for k in a)
def steps(out): return [l['step'] for l in read_lines(Path(out, 'metrics.jsonl'))]

@pytest.fixture(scope='module')
def undisturbed(data, tmp_path_factory):
    "Weights of a training by two processes that torchrun started."
    out = tmp_path_factory.mktemp('undisturbed')/'run'
    p = torchrun('-m', 'edmxl.training', 'train_diffusion', *words(data, out))
    said,_ = p.communicate()
    assert p.returncode==0, said
    assert steps(out)==list(range(1, STEPS+1))
    return out


def test_two_processes_have_the_gradients_of_one(data, tmp_path):
    "Gradients to 1e-6, every image once an epoch, equal weights on both."
    code = f'''
import sys, numpy as np, torch
from pathlib import Path
from edmxl.data.dataset import VIEWS, EchoDataset
from edmxl.models.echo_model import EchoModel, measure
from edmxl.models.presets import Training
from edmxl.models.unet import UNetConfig
from edmxl.training.diffusion import diffusion_recipe, diffusion_task, load_batch
from edmxl.training.draws import batch_indices, generator
from edmxl.training.loop import Objective, _step, gradients, new_state, shares
from edmxl.training.places import join, leave
place = join('cpu'); torch.set_num_threads(1)
ds = EchoDataset({str(data)!r}); a,views,fit = ds.arrays(),np.array([VIEWS.index(r.view) for r in ds.rows]),ds.where('train')
torch.manual_seed(0)
cfg = UNetConfig(channels=16, mult=(1,2), blocks=1, heads=(0,2), middle_heads=2, n_classes=2, spade_hidden=16, dropout=0.,
                 resolution=16, null_map=True)
model = EchoModel(cfg)
measure(model, *load_batch(a.images, a.sector, views, fit)[:2])
for p in model.denoiser.parameters(): torch.nn.init.normal_(p, 0, .05, generator=generator('weights', tuple(p.shape)))
t = Training(1, batch=8, label_dropout=.4)
task,recipe = diffusion_task(model, a.images, a.sector, views, fit, fit[:4], t, 0),diffusion_recipe(t, 9)
state,mine = new_state(task, recipe, place.device),shares(8, place, 2)
objective = place.wrap(Objective(task))
gradients(objective, [task.batch(0, m) for m in mine], recipe, place, state.scaler, (0,))
grad = torch.cat([p.grad.flatten() for p in model.denoiser.parameters()])
state.opt.zero_grad()
for step in range(3): _step(state, objective, [task.batch(step, m) for m in mine], recipe, place, (0, step), lambda: False)
seen = torch.cat([batch_indices(len(fit), 8, s, 0)[m] for s in range(len(fit)*3//8) for m in mine])
torch.save(dict(grad=grad, weights=torch.cat([p.detach().flatten() for p in model.denoiser.parameters()]), seen=seen),
           Path(sys.argv[1], f'{{place.world}}-{{place.rank}}.pt'))
leave()
'''
    for nproc in (1, 2):
        p = torchrun('--no-python', sys.executable, '-c', code, tmp_path, nproc=nproc)
        assert p.wait(120)==0, p.stdout.read()
    one,*two = (torch.load(tmp_path/f'{f}.pt', weights_only=True) for f in ('1-0', '2-0', '2-1'))
    for r in two: assert (r['grad']-one['grad']).norm() < 1e-6*one['grad'].norm()
    assert torch.equal(two[0]['weights'], two[1]['weights'])
    assert (two[0]['weights']-one['weights']).norm() < 1e-4*one['weights'].norm()
    counts = torch.bincount(torch.cat([r['seen'] for r in two]))
    assert counts.tolist()==[3]*16, 'three epochs of 16 images, shared by two processes'


def test_the_command_and_torchrun_are_the_same_training(data, tmp_path, undisturbed):
    code,_,err = edmxl('run', 'train_diffusion', *words(data, tmp_path/'run'), '--nproc', '2')
    assert code==0, err
    assert same(weights(tmp_path/'run'), weights(undisturbed))
    record = json.loads((tmp_path/'run'/'run.json').read_text())
    assert record['metrics']['steps']==STEPS and record['config']['nproc']==2 and record['peak_memory_mb']>100
    assert list((tmp_path/'run'/'tensorboard').iterdir())
    code,_,err = edmxl('run', 'train_diffusion', *words(data, undisturbed), '--nproc', '1')  # goes on where torchrun ended: at the end
    assert code==0 and (undisturbed/'run.json').exists(), err
    assert same(weights(tmp_path/'run'), weights(undisturbed))


def family(p):
    try: return [p, *p.children(recursive=True)]
    except psutil.NoSuchProcess: return []

def whole(out):
    "Every file under its final name is whole."
    for f in (*checkpoints(out), *Path(out).glob('best-*.safetensors')): read_tensors(f)
    for f in Path(out).glob('previews/*.png'): assert read_png(f, 'picture').shape==(16, 64)
    for f in Path(out).glob('*.json'): json.loads(f.read_text())
    if Path(out, 'model.safetensors').exists(): assert weights(out)

def gone(out):
    "Wait until no process works in a folder any more: the helpers of a killed one save and end."
    until(lambda: not [q for q in psutil.process_iter(['cmdline']) if str(out) in ' '.join(q.info['cmdline'] or ())], 100)

def kill_one(p, out, dice):
    "kill -9 a random process of a command, some steps further on; the end of its command line, None if it had ended before."
    goal = min(max(steps(out), default=0) + dice.randint(0, 12), STEPS-1)
    until(lambda: max(steps(out), default=0)>=goal or p.poll() is not None)
    time.sleep(dice.uniform(0, .3))
    if p.poll() is not None: return None
    victim = dice.choice(family(psutil.Process(p.pid)))
    try: name = ' '.join(victim.cmdline())[-60:]; victim.kill()
    except psutil.NoSuchProcess: name = None
    p.wait(180)
    return name

def test_killed_at_random_it_ends_as_if_nothing_had_happened(data, tmp_path, undisturbed):
    """kill -9 of any process of a training by two, the same command again: the very weights of the undisturbed run. A training that
    ends before all kills are spent is followed by another one."""
    dice,killed,finished = random.Random(0),[],0
    while True:
        out = tmp_path/f'run{finished}'
        p = command('run', 'train_diffusion', *words(data, out), '--nproc', '2')
        if len(killed)<KILLS: killed += filter(None, [kill_one(p, out, dice)])
        assert p.wait(300)<=1, p.stderr.read()
        whole(out)
        if p.returncode: continue
        assert same(weights(out), weights(undisturbed)), killed
        assert steps(out)==list(range(1, STEPS+1))
        finished += 1
        if len(killed)>=KILLS: break
    gone(tmp_path)

def test_asked_to_stop_it_saves_and_another_number_of_processes_goes_on(data, tmp_path):
    "Ctrl-C leaves a checkpoint of the last step; one process goes on where two were: same order, same batch."
    long = dict(steps=300)
    out = tmp_path/'run'
    p = command('run', 'train_diffusion', *words(data, out, **long), '--nproc', '2')
    until(lambda: len(steps(out))>=13 or p.poll() is not None)
    os.kill(p.pid, signal.SIGINT)
    assert p.wait(120)==130, p.stderr.read()
    stopped = steps(out)[-1]
    assert stopped<300 and read_facts(checkpoints(out)[-1])['step']==stopped
    q = command('run', 'train_diffusion', *words(data, out, **long), '--nproc', '1')
    until(lambda: len(steps(out))>=stopped+15 or q.poll() is not None)
    os.kill(q.pid, signal.SIGINT)
    assert q.wait(120)==130
    mixed = {l['step']: l['loss'] for l in read_lines(out/'metrics.jsonl')}
    alone = tmp_path/'alone'
    r = command('run', 'train_diffusion', *words(data, alone, **long))
    until(lambda: len(steps(alone))>=stopped+15 or r.poll() is not None)
    r.kill()
    lines = {l['step']: l['loss'] for l in read_lines(alone/'metrics.jsonl')}
    both = sorted(mixed.keys() & lines.keys())
    assert len(both)>=stopped+14
    assert max(abs(mixed[s]-lines[s])/lines[s] for s in both)<1e-3


def agents(out, data, hosts, port, **more):
    "Two torchrun agents on loopback addresses that train together."
    for i,host in enumerate(hosts):
        cmd = [sys.executable, '-m', 'torch.distributed.run', '--nnodes=1:2', '--nproc-per-node=1', '--max-restarts=4',
               '--rdzv-backend=c10d', '--rdzv-id=test', f'--rdzv-endpoint=127.0.0.1:{port}', f'--local-addr={host}',
               f'--rdzv-conf=last_call_timeout=3,is_host={int(i==0)}',
               '-m', 'edmxl.training', 'train_diffusion', *words(data, out, **more)]
        log = open(f'{out}-{host}.log', 'w')
        yield subprocess.Popen(cmd, env=quiet(), stdout=subprocess.DEVNULL, stderr=log, start_new_session=True)

def free_port():
    import socket
    with socket.socket() as s: s.bind(('127.0.0.1', 0)); return s.getsockname()[1]

def test_two_hosts_lose_a_worker_and_then_one_of_them(data, tmp_path):
    "A killed worker comes back from the checkpoint; when one agent of two is lost, the other finishes."
    out = tmp_path/'run'
    first,second = agents(out, data, ('127.0.0.1', '127.0.0.2'), free_port(), steps=120)
    try:
        until(lambda: len(steps(out))>=20 or first.poll() is not None, 300)
        worker = next(p for p in psutil.Process(second.pid).children(recursive=True) if 'edmxl.training' in ' '.join(p.cmdline()))
        worker.kill()
        done = len(steps(out))
        until(lambda: len(steps(out))>=done+20 or first.poll() is not None, 400)
        assert first.poll() is None and second.poll() is None, 'both agents go on after the loss of a worker'
        os.killpg(second.pid, signal.SIGKILL)
        assert first.wait(500)==0, Path(f'{out}-127.0.0.1.log').read_text()[-3000:]
    finally:
        for p in (first, second):
            if p.poll() is None: os.killpg(p.pid, signal.SIGKILL)
    assert steps(out)==list(range(1, 121)) and weights(out)


def test_a_workers_error_is_the_error_of_the_run(data, tmp_path):
    "The root cause, not what the other process or torchrun says of it; nothing is tried again."
    code,_,err = edmxl('run', 'train_diffusion', *words(data, tmp_path/'run', lr=.999), '--nproc', '2')
    assert code==1 and 'had a gradient that is not finite' in err and 'ChildFailedError' not in err, err

def refused(part, *args, env=None, code=2):
    p = subprocess.run([sys.executable, '-m', *map(str, args)], env=quiet() | (env or {}), capture_output=True, text=True)
    assert p.returncode==code and part in p.stderr and 'Traceback' not in p.stderr, p.stderr[-2000:]

def test_bad_input_is_one_sentence_at_the_start(data, tmp_path, undisturbed):
    out = tmp_path/'new'
    refused('cannot be shared evenly by 3', 'edmxl', 'run', 'train_diffusion', *words(data, out), '--nproc', '3')
    assert not out.exists(), 'a run that never began leaves nothing'
    refused('micro-batches of 3', 'edmxl', 'run', 'train_diffusion', *words(data, out, micro_batch=3))
    refused('steps: 60 before, 80 now', 'edmxl', 'run', 'train_diffusion', *words(data, undisturbed, steps=80))
    refused('steps: 60 before, 80 now', 'edmxl.training', 'train_diffusion', *words(data, undisturbed, steps=80))
    refused('WORLD_SIZE', 'edmxl.training', 'train_diffusion', *words(data, out), env=dict(RANK='0'))
    refused('needs a multiple of 16', 'edmxl.training', 'train_diffusion', *words(odd(tmp_path), out))
    refused('no training "train"', 'edmxl.training', 'train')

def odd(tmp_path):
    write_phantom(tmp_path/'odd', 24, (2,1,1), 0)
    return tmp_path/'odd'

def test_a_dataset_that_changed_is_noticed(tmp_path):
    write_phantom(tmp_path/'data', 16, (4,1,1), 0)
    out = tmp_path/'run'
    p = subprocess.Popen([sys.executable, '-m', 'edmxl.training', 'train_diffusion', *words(tmp_path/'data', out, steps=300)], env=quiet())
    until(lambda: len(steps(out))>=3 or p.poll() is not None)
    p.terminate(); assert p.wait(60)==143
    kept = checkpoints(out)
    a,b,*_ = sorted((tmp_path/'data'/'images').glob('*.png'))
    a.write_bytes(b.read_bytes())
    refused('was changed after it was made', 'edmxl.training', 'train_diffusion', *words(tmp_path/'data', out, steps=300))
    assert checkpoints(out)==kept and kept

def test_a_damaged_checkpoint_costs_one_interval(data, tmp_path, undisturbed):
    "The one before it is used, with a warning where the user looks, and the end is the same."
    out = tmp_path/'run'
    def two(): return torchrun('-m', 'edmxl.training', 'train_diffusion', *words(data, out))
    p = two()
    until(lambda: len(checkpoints(out))==2 or p.poll() is not None)
    os.killpg(p.pid, signal.SIGKILL); p.wait()
    gone(out)
    newest = checkpoints(out)[-1]
    newest.write_bytes(newest.read_bytes()[:-64])
    with pytest.raises(BadInput, match='cut short|damaged|cannot be read'): read_tensors(newest)
    code,_,err = edmxl('run', 'train_diffusion', *words(data, out), '--nproc', '2')
    assert code==0 and 'The one before it is used' in err, err
    assert same(weights(out), weights(undisturbed))

def test_a_full_disk_is_one_sentence_and_loses_nothing(data, tmp_path, undisturbed):
    "The run stops with the reason; with room on the disk the same command goes on to the same weights."
    out = tmp_path/'disk'/'run'
    with mounted(tmp_path/'disk', 'size=150m') as change:
        if change is None: pytest.skip('no file system can be mounted by this user')
        code,_,err = edmxl('run', 'train_diffusion', *words(data, out), '--nproc', '2')
        assert code==1 and 'no space left on the device' in err and 'Nothing is lost' in err and 'Traceback' not in err, err
        whole(out)
        assert change('size=2g')
        code,_,err = edmxl('run', 'train_diffusion', *words(data, out), '--nproc', '2')
        assert code==0, err
        assert same(weights(out), weights(undisturbed))
