"Many runs from one file: nothing is computed twice, nothing is lost, nobody is left behind."
import json
import os
import shutil
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

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

def file(folder, text):
    path = folder/'s.yaml'
    path.write_text(text)
    return path

def sweep(path, out, *words):
    """The command in a session of its own, so that a signal reaches only this process. Ctrl-C works in it even where the tests run in
    the background of a shell, which has SIGINT ignored by all that it starts."""
    cmd = [sys.executable, '-m', 'edmxl', 'sweep', str(path), '-o', str(out), *map(str, words)]
    return subprocess.Popen(cmd, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
                            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))

def attempts(out): return [p.read_text().count(ATTEMPT) for p in sorted((out/'logs').glob('0*.log'))]
def records(out): return {p: p.read_bytes() for p in sorted(out.glob('*/run.json'))}
def files(folder): return {p: p.read_bytes() for p in sorted(folder.rglob('*')) if p.is_file()}

kinds = st.integers(1, 10**6),st.sampled_from(['euler','heun','unipc'])
steps,solvers = (st.lists(v, min_size=1, max_size=5, unique=True) for v in kinds)

@given(steps, solvers, st.lists(st.floats(1, 9), min_size=1, max_size=3, unique=True))
def test_a_grid_is_the_product_of_its_values(tmp_path_factory, steps, solvers, guidance):
    path = file(tmp_path_factory.getbasetemp(), json.dumps(dict(run='generate', grid=dict(steps=steps, solver=solvers, guidance=guidance))))
    members = read_sweep(path, 'o').members
    assert [tuple(m.swept.values()) for m in members]==[(n, s, w) for n in steps for s in solvers for w in guidance]
    assert [(m.config.steps, m.config.solver, m.config.guidance) for m in members]==[tuple(m.swept.values()) for m in members]
    assert len({m.out for m in members})==len(members) and [m.out.name[:3] for m in members]==[f'{i:03}' for i in range(len(members))]

@pytest.mark.parametrize('text,part', [
    ('run: prepare\ngrid: {seed: [1]}\nworkers: 3\n', 'unknown key "workers": expected some of run, params, grid, list, retries, slurm'),
    ('run: prepare\ngrid: {sed: [1]}\n', 'no parameter "sed"'), ('run: prepare\nparams: {size: 8}\ngrid: {seed: [1]}\n', 'at least 16'),
    ('run: prepare\ngrid: {seed: [1, 2, 1]}\n', 'members 0 and 2 are the same'), ('run: prepare\ngrid: {seed: []}\n', 'expected a list'),
    ('run: study\ngrid: {generate.step: [4]}\n', 'no parameter "step"'),
     ('run: study\nparams: {data: nowhere}\ngrid: {seed: [1]}\n', 'not found'),
    ('run: generate\nparams: {model: nowhere}\ngrid: {steps: [4]}\n', 'not found')])
def test_bad_input(tmp_path, monkeypatch, capsys, text, part):
    "Exit 2, one message, nothing written: with the dry run and without."
    path = file(tmp_path, text)
    monkeypatch.chdir(tmp_path)
    for words in ([], ['--dry-run']):
        assert main(['sweep', str(path), *words])==2
        err = capsys.readouterr().err
        assert part in err and err.count('\n')==1, err
    assert list(tmp_path.iterdir())==[path]

def test_folder_of_something_else(tmp_path, capsys):
    path,out = file(tmp_path, TINY+'grid: {seed: [1]}\n'),tmp_path/'out'
    out.mkdir()
    (out/'thesis.tex').write_text('years of work')
    before = files(tmp_path)
    assert main(['sweep', str(path), '-o', str(out)])==2 and 'no sweep' in capsys.readouterr().err
    (out/'thesis.tex').unlink()
    write_json(out/'sweep.json', dict(schema=1, run='prepare', file='other.yaml', members=[dict(folder='000-seed-7')]))
    assert main(['sweep', str(path), '-o', str(out)])==2 and 'another sweep' in capsys.readouterr().err
    assert before and not (out/'logs').exists()

def test_one_fails_the_others_do_not_and_only_what_failed_runs_again(tmp_path):
    "A dataset without its index is noticed only by the run: it is tried again `retries` times. Mended, it alone runs; then nothing does."
    bad,out = tmp_path/'bad',tmp_path/'out'
    write_phantom(tmp_path/'good', 16, (2,0,1), 0, progress=False)
    write_json(bad/'dataset.json', dict(content_hash=EchoDataset(tmp_path/'good').hash))
    path = file(tmp_path, TINY+f'list: [{{data: {bad}}}, {{seed: 1}}]\nretries: 1\n')
    p = sweep(path, out)
    said,err = p.communicate()
    assert p.returncode==1 and '1 of 2 members failed' in err and f'000-data-bad-seed-0: {bad}' in err, (said, err)
    assert attempts(out)==[2, 1]
    t = pd.read_csv(out/'sweep.csv')
    assert list(t.state)==['failed', 'complete'] and pd.isna(t.n_train[0]) and t.n_train[1]==4 and (out/'sweep.png').stat().st_size
    kept = records(out)
    shutil.rmtree(bad)
    shutil.copytree(tmp_path/'good', bad)
    p = sweep(path, out)
    said,err = p.communicate()
    assert p.returncode==0 and '1 of 2 members: complete, kept' in said, (said, err)
    assert attempts(out)==[3, 1] and kept.items()<=records(out).items()
    first = (out/'sweep.csv').read_bytes()
    (out/'sweep.csv').unlink()
    p = sweep(path, out)
    assert p.communicate() and p.returncode==0 and attempts(out)==[3, 1] and (out/'sweep.csv').read_bytes()==first

@pytest.mark.parametrize('sign,code', [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_interrupted_nobody_goes_on(tmp_path, sign, code):
    "kill -9 and Ctrl-C, with a member at work: its processes end, and the folder is free."
    out = tmp_path/'out'
    p = sweep(file(tmp_path, TINY+'grid: {seed: [1, 2, 3]}\n'), out, '--workers', 1)
    until(lambda: list(out.glob('*/config.json')) or p.poll() is not None)
    os.kill(p.pid, sign)
    _,err = p.communicate()
    assert p.returncode==code and ('interrupted' in err)==(code==130) and 'Traceback' not in err, err
    until(lambda: not alive(out), 30)
    assert len(records(out))<3 and json.loads((out/'sweep.json').read_text())['finished'] is None

@contextmanager
def scheduler():
    "A dask scheduler with one worker, as somebody else has started it."
    from distributed import LocalCluster
    with pytest.MonkeyPatch.context() as m:
        m.setenv('PYTHONPATH', str(ROOT))
        with LocalCluster(n_workers=1, threads_per_worker=1, dashboard_address=None) as cluster: yield cluster.scheduler_address

def test_on_a_running_scheduler_killed_and_continued(tmp_path):
    "The workers live on after kill -9 of the sweep, its members do not; the same command ends it."
    path,out = file(tmp_path, TINY+'grid: {seed: [1]}\n'),tmp_path/'out'
    with scheduler() as address:
        p = sweep(path, out, '--scheduler', address)
        until(lambda: list(out.glob('*/config.json')) or p.poll() is not None)
        p.kill()
        p.communicate()
        until(lambda: not alive(out), 30)
        assert not records(out)
        p = sweep(path, out, '--scheduler', address)
        said,err = p.communicate()
    assert p.returncode==0 and attempts(out)==[2] and list(pd.read_csv(out/'sweep.csv').n_train)==[4], (said, err)

SLURM = 'slurm: {queue: gpu, account: heart, cores: 8, memory: 16GB, walltime: 12:00:00, job_extra_directives: ["--gres=gpu:1"]}\n'

def test_dry_run_for_slurm(tmp_path, capsys):
    "Needs no Slurm and writes nothing. (YAML reads 12:00:00 as 43200.)"
    path = file(tmp_path, TINY+'grid: {seed: [1, 2, 3]}\n'+SLURM)
    assert main(['sweep', str(path), '-o', str(tmp_path/'out'), '--scheduler', 'slurm', '--dry-run'])==0
    said = capsys.readouterr().out
    for line in ('-p gpu', '-A heart', '--cpus-per-task=8', '--mem=15G', '-t 12:00:00', '--gres=gpu:1'):
        assert f'\n#SBATCH {line}\n' in said
    assert '3 members' in said and all(f'00{i}-seed-{i+1}' in said for i in range(3)) and '--nthreads 1 ' in said
    assert list(tmp_path.iterdir())==[path]

def command(path, text):
    path.write_text(f'#!/bin/sh\n{text}\n')
    path.chmod(0o755)

def test_slurm_jobs_come_and_go(tmp_path, monkeypatch):
    "On a machine that is its own little Slurm: a job for each command that waits, a killed one is replaced, and none is left at the end."
    (tmp_path/'bin').mkdir(); (tmp_path/'logs').mkdir(); (tmp_path/'jobs').mkdir()
    job = f'{tmp_path}/jobs/$$'
    command(tmp_path/'bin'/'sbatch', f'cp "$1" {job}\nsetsid sh {job} >/dev/null 2>&1 &\necho Submitted batch job $!')
    command(tmp_path/'bin'/'scancel', 'kill -- -$1')
    monkeypatch.setenv('PATH', f'{tmp_path}/bin', prepend=os.pathsep)
    monkeypatch.setenv('PYTHONPATH', str(ROOT))
    def job(name, code): return Job(name, ('-c', code), str(tmp_path), str(tmp_path/'logs'/f'{name}.log'))
    once = 'import os, pathlib as p; p.Path("once").exists() or (p.Path("once").touch(), os.killpg(os.getpgid(os.getppid()), 9))'
    jobs = [job('dies', once), job('quick', ''), job('bad', '1/0')]
    asked = dict(cores=1, memory='1GB', interface='lo')
    with connect('slurm', 2, asked, tmp_path, retries=1) as client: ended = {j.name: e for j,e in do_jobs(client, jobs, 1)}
    assert [ended[n] for n in ('dies','quick')]==[None, None] and isinstance(ended['bad'], JobFailed)
    assert len(list((tmp_path/'jobs').iterdir()))>=2
    until(lambda: not alive(tmp_path), 30)

def test_the_example_is_in_order():
    "Its paths are those of `make demo`."
    s = read_sweep(Path(ROOT, 'nbs', 'tutorials', 'sweep_solvers.yaml'))
    assert s.run=='generate' and set(s.keys)=={'solver', 'steps'} and s.common['model'].startswith('out/demo/')
