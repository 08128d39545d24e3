"Many runs from one file: nothing is computed twice, nothing is lost, nobody is left behind."
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager

import pandas as pd
import pytest
from conftest import ROOT, alive, environment, until
from hypothesis import given
from hypothesis import strategies as st

from edmxl.data.dataset import EchoDataset
from edmxl.data.files import write_json
from edmxl.data.phantom import write_phantom
from edmxl.workbench.clusters import ATTEMPT, Job, JobFailed, connect, do_jobs
from edmxl.workbench.command_line import main
from edmxl.workbench.sweep import read_sweep

TINY = 'run: prepare\nparams: {size: 16, patients: [2, 0, 1]}\n'
LONG = TINY.replace('2, 0', '30, 0') # five seconds or more, so that an interruption always finds it at work

def file(folder, text):
    path = folder/'s.yaml'
    path.write_text(text)
    return path

def sweep(path, out, *words): return main(['sweep', str(path), '-o', str(out), *map(str, words)])

def started(path, out, *words):
    """The command in a session of its own, so that a signal reaches only this process. Ctrl-C works in it even where the
    tests run in the background of a shell, which has SIGINT ignored by all that it starts."""
    cmd = [sys.executable, '-m', 'edmxl', 'sweep', str(path), '-o', str(out), *map(str, words)]
    return subprocess.Popen(cmd, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                            start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))

def at_work(p, out):
    "Wait until a member runs."
    until(lambda: list(out.glob('*/config.json')) or p.poll() is not None)
    assert p.poll() is None, p.communicate()

def attempts(out): return [p.read_text().count(ATTEMPT) for p in sorted((out/'logs').glob('0*.log'))]
def records(out): return {p: p.read_bytes() for p in sorted(out.glob('*/run.json'))}

def some(values, n=5): return st.lists(values, min_size=1, max_size=n, unique=True)

@given(some(st.integers(1, 10**6)), some(st.sampled_from(['euler', 'heun', 'unipc'])), some(st.floats(1, 9), 3))
def test_a_grid_is_the_product_of_its_values(tmp_path_factory, steps, solvers, guidance):
    asked = dict(run='generate', grid=dict(steps=steps, solver=solvers, guidance=guidance))
    members = read_sweep(file(tmp_path_factory.getbasetemp(), json.dumps(asked)), 'o').members
    product = [(n, s, w) for n in steps for s in solvers for w in guidance]
    assert [tuple(m.swept.values()) for m in members]==product
    assert [(m.config.steps, m.config.solver, m.config.guidance) for m in members]==product
    assert [m.out.name[:3] for m in members]==[f'{i:03}' for i in range(len(product))]

@pytest.mark.parametrize('text,part', [
    ('run: prepare\ngrid: {seed: [1]}\nworkers: 3', 'unknown key "workers": expected some of run, params, grid, list, retries'),
    ('run: prepare\ngrid: {sed: [1]}', 'no parameter "sed"'),
    ('run: prepare\nparams: {size: 8}\ngrid: {seed: [1]}', 'at least 16'),
    ('run: prepare\ngrid: {seed: [1, 2, 1]}', 'members 0 and 2 are the same'),
    ('run: prepare\ngrid: {seed: []}', 'expected a list'),
    ('run: study\ngrid: {generate.step: [4]}', 'no parameter "step"'),
    ('run: study\nparams: {data: nowhere}\ngrid: {seed: [1]}', 'not found'),
    ('run: generate\nparams: {model: nowhere}\ngrid: {steps: [4]}', 'not found')])
def test_bad_input(tmp_path, monkeypatch, capsys, text, part):
    "Exit 2, one message, nothing written: with the dry run and without."
    path = file(tmp_path, text)
    monkeypatch.chdir(tmp_path)
    for words in ([], ['--dry-run']):
        assert sweep(path, 'out', *words)==2
        err = capsys.readouterr().err
        assert part in err and err.count('\n')==1, err
    assert list(tmp_path.iterdir())==[path]

def test_folder_of_something_else(tmp_path, capsys):
    path,out = file(tmp_path, TINY+'grid: {seed: [1]}'),tmp_path/'out'
    write_json(out/'thesis.json', 'years of work')
    assert sweep(path, out)==2 and 'no sweep' in capsys.readouterr().err
    write_json(out/'sweep.json', dict(schema=1, run='prepare', file='other.yaml', members=[dict(folder='000-seed-7')]))
    assert sweep(path, out)==2 and 'another sweep' in capsys.readouterr().err
    assert {p.name for p in out.iterdir()}=={'thesis.json', 'sweep.json'}

def test_one_fails_the_others_do_not_and_only_what_failed_runs_again(tmp_path, capsys):
    """A dataset without its index is noticed only by the run: it is tried `retries` times more. Mended, it alone runs again; in a
    third pass nothing does, and the table is the same."""
    bad,out = tmp_path/'bad',tmp_path/'out'
    write_phantom(tmp_path/'good', 16, (2,0,1), 0, progress=False)
    write_json(bad/'dataset.json', dict(content_hash=EchoDataset(tmp_path/'good').hash))
    path = file(tmp_path, TINY+f'list: [{{data: {bad}}}, {{seed: 1}}]\nretries: 1')
    assert sweep(path, out)==1 and attempts(out)==[2, 1]
    err = capsys.readouterr().err
    assert '1 of 2 members failed' in err and f'000-data-bad-seed-0: {bad}' in err, err
    t = pd.read_csv(out/'sweep.csv')
    assert list(t.state)==['failed', 'complete'] and pd.isna(t.n_train[0]) and t.n_train[1]==4
    assert (out/'sweep.png').stat().st_size and json.loads((out/'sweep.json').read_text())['finished']
    kept = records(out)
    shutil.rmtree(bad)
    shutil.copytree(tmp_path/'good', bad)
    assert sweep(path, out)==0 and attempts(out)==[3, 1] and kept.items()<=records(out).items()
    assert '1 of 2 members: complete, kept' in capsys.readouterr().out
    table = (out/'sweep.csv').read_bytes()
    (out/'sweep.csv').unlink()
    assert sweep(path, out)==0 and attempts(out)==[3, 1] and (out/'sweep.csv').read_bytes()==table

@pytest.mark.parametrize('sign,code', [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_interrupted_nobody_goes_on(tmp_path, sign, code):
    "kill -9 and Ctrl-C, with a member at work: its processes end, and nothing claims to be complete."
    out = tmp_path/'out'
    p = started(file(tmp_path, LONG+'grid: {seed: [1, 2, 3]}'), out, '--workers', 1)
    at_work(p, out)
    os.kill(p.pid, sign)
    _,err = p.communicate()
    assert p.returncode==code and ('interrupted' in err)==(code==130) and 'Traceback' not in err, err
    until(lambda: not alive(out), 30)
    assert not records(out) and attempts(out)==[1]
    assert json.loads((out/'sweep.json').read_text())['finished'] is None

@contextmanager
def scheduler():
    "A dask scheduler with one worker, as somebody else has started it."
    from distributed import LocalCluster
    with pytest.MonkeyPatch.context() as m:
        m.setenv('PYTHONPATH', str(ROOT))
        with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address='127.0.0.1:0') as cluster: yield cluster.scheduler_address

def test_on_a_running_scheduler_killed_and_continued(tmp_path):
    "The workers live on after kill -9 of the sweep, its members do not; the same command ends it."
    path,out = file(tmp_path, LONG+'grid: {seed: [1]}'),tmp_path/'out'
    with scheduler() as address:
        p = started(path, out, '--scheduler', address)
        at_work(p, out)
        p.kill()
        p.communicate()
        until(lambda: not alive(out), 30)
        assert not records(out)
        assert sweep(path, out, '--scheduler', address)==0
    assert attempts(out)==[2] and list(pd.read_csv(out/'sweep.csv').n_train)==[108] # of 30 patients, three are held out

SLURM = '''
slurm: {queue: gpu, account: heart, cores: 8, memory: 16GB, walltime: 12:00:00, job_extra_directives: ["--gres=gpu:1"]}
'''

def test_dry_run_for_slurm(tmp_path, capsys):
    "Needs no Slurm and writes nothing. (YAML reads 12:00:00 as 43200.)"
    path = file(tmp_path, TINY+'grid: {seed: [1, 2, 3]}'+SLURM)
    assert sweep(path, tmp_path/'out', '--scheduler', 'slurm', '--dry-run')==0
    said = capsys.readouterr().out
    for line in ('-p gpu', '-A heart', '--cpus-per-task=8', '--mem=15G', '-t 12:00:00', '--gres=gpu:1'):
        assert f'\n#SBATCH {line}\n' in said
    assert '3 members' in said and all(f'00{i}-seed-{i+1}' in said for i in range(3)) and '--nthreads 1 ' in said
    assert list(tmp_path.iterdir())==[path]

def command(path, *lines):
    path.parent.mkdir(exist_ok=True)
    path.write_text('\n'.join(['#!/bin/sh', *lines, '']))
    path.chmod(0o755)

def test_slurm_jobs_come_and_go(tmp_path, monkeypatch):
    "On a machine that is its own little Slurm: jobs for the commands that wait, a killed one is replaced, and none is left."
    logs,jobs = tmp_path/'logs',tmp_path/'jobs'
    logs.mkdir(); jobs.mkdir()
    command(tmp_path/'bin'/'sbatch', f'cp "$1" {jobs}/$$', f'setsid sh {jobs}/$$ >/dev/null 2>&1 &', 'echo Submitted batch job $!')
    command(tmp_path/'bin'/'scancel', 'kill -- -$1')
    monkeypatch.setenv('PATH', f'{tmp_path}/bin', prepend=os.pathsep)
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    def job(name, code): return Job(name, ('-c', code), str(tmp_path), str(logs/f'{name}.log'))
    dies = 'import os, pathlib as p; f = p.Path("once"); f.exists() or (f.touch(), os.killpg(os.getpgid(os.getppid()), 9))'
    asked,todo = dict(cores=1, memory='1GB', interface='lo'),[job('dies', dies), job('quick', ''), job('bad', '1/0')]
    with connect('slurm', 2, asked, tmp_path, retries=1) as client: ended = {j.name: e for j,e in do_jobs(client, todo, 1)}
    assert [ended[n] for n in ('dies', 'quick')]==[None, None] and isinstance(ended['bad'], JobFailed)
    assert len(list(jobs.iterdir()))>=2
    until(lambda: not alive(tmp_path), 30)

def test_the_example_is_in_order():
    "Its paths are those of `make demo`."
    s = read_sweep(ROOT/'nbs'/'tutorials'/'sweep_solvers.yaml')
    assert s.run=='generate' and s.keys==['solver', 'steps'] and s.common['model'].startswith('out/demo/')
