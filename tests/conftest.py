"What the tests share: the command `edmxl` as a user runs it, and a study small enough to run in a test."
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import hypothesis
import psutil
import pytest
from safetensors.torch import load_file

hypothesis.settings.register_profile('noisy machine', deadline=None)
hypothesis.settings.load_profile('noisy machine')

ROOT = Path(__file__).parent.parent
STAGES = ['prepare', 'train_diffusion', 'generate', 'train_segmentation', 'train_classification', 'evaluate', 'report']

def given(stage, **values): return [w for k,v in values.items() for w in ('-p', f'{stage}.{k}', str(v))]

TINY = [*given('prepare', size=16, patients='4,1,2'), *given('train_diffusion', steps=40, batch=4, threads=1, snapshots=0),
        *given('generate', steps=2), *given('train_segmentation', steps=4, batch=4, threads=1, repeats=2),
        *given('train_classification', steps=4, batch=4, threads=1, repeats=2), *given('evaluate', draws=50, threads=1),
        '--device', 'cpu', '--precision', 'fp32']
ONE = given('generate', nproc=1)

def environment(path=ROOT): return os.environ | dict(PYTHONPATH=str(path), MPLBACKEND='agg')

def edmxl(*words, cwd=None, path=ROOT):
    "Run the command; its exit code, output and errors."
    p = subprocess.run([sys.executable, '-m', 'edmxl', *map(str, words)], capture_output=True, text=True, cwd=cwd,
                       env=environment(path))
    return p.returncode, p.stdout, p.stderr

def record(folder, name): return json.loads((folder/name/'run.json').read_text())
def metrics(folder): return {n: record(folder, n)['metrics'] for n in STAGES}

def study(out, *words):
    """The study's command in a session of its own, so that a signal reaches only this process. Ctrl-C works in it even where
    the tests run in the background of a shell, which has SIGINT ignored by all that it starts."""
    words = [sys.executable, '-m', 'edmxl', 'study', '-o', str(out), *TINY, *words]
    return subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                            start_new_session=True, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))

def until(ready, seconds=180):
    end = time.monotonic()+seconds
    while not ready():
        assert time.monotonic()<end
        time.sleep(.02)

def alive(out):
    "Processes that name the folder `out` or hold a file in it open."
    def belongs(p):
        return any(str(out) in w for w in [*(p.info['cmdline'] or ()), *(f.path for f in p.info['open_files'] or ())])
    return [p for p in psutil.process_iter(['cmdline','open_files']) if belongs(p)]

def interrupt(p, out, ready, sign, code):
    "Send a signal when `ready`; the study ends with `code`, and everything that it started ends with it."
    until(lambda: ready() or p.poll() is not None)
    os.kill(p.pid, sign)
    said,_ = p.communicate()
    assert p.returncode==code, said
    until(lambda: not alive(out))

def trained(out, steps):
    lines = out/'train_diffusion'/'metrics.jsonl'
    return lines.exists() and lines.read_text().count('\n')>=steps

def one_line_a_step(out):
    lines = (out/'train_diffusion'/'metrics.jsonl').read_text().splitlines()
    return [json.loads(l)['step'] for l in lines]==list(range(1, 41))

@contextmanager
def mounted(path, options):
    "A file system in memory, if this user may mount one: a function that changes its options, else None."
    path.mkdir()
    mount = lambda o: subprocess.run(['mount', '-t', 'tmpfs', '-o', o, 'tmpfs', path], capture_output=True).returncode==0
    ok = sys.platform=='linux' and mount(options)
    try: yield (lambda o: mount(f'remount,{o}')) if ok else None
    finally:
        if ok: subprocess.run(['umount', '-l', path], check=True)

@pytest.fixture(scope='session')
def tiny_study(tmp_path_factory, worker_id):
    "Folder of a complete tiny study with seed 0, made once, by whichever process of the tests comes first."
    base = tmp_path_factory.getbasetemp()
    out = (base if worker_id=='master' else base.parent)/'tiny_study'
    with open(out.with_suffix('.lock'), 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (out/'study.json').exists():
            code,_,err = edmxl('study', '-o', out, *TINY, *ONE)
            assert code==0, err
    return out

@pytest.fixture(scope='session')
def oracles():
    "Stored numbers of the published implementations by name: tensors and description. A few are committed; developers have all."
    folders = [ROOT.parent/'shared'/'oracles', ROOT/'tests'/'oracles']
    def find(name):
        for f in folders:
            if (f/f'{name}.json').is_file():
                tensors = f/f'{name}.safetensors'
                return load_file(tensors) if tensors.is_file() else {},json.loads((f/f'{name}.json').read_text())
        pytest.skip(f'{name}: stored reference numbers found in none of {", ".join(map(str, folders))}')
    return find

@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    "With EDMXL_ALL=1 (as in CI) a skipped test is a failure: the browser and the real echoes must be there."
    report = (yield).get_result()
    if os.environ.get('EDMXL_ALL') and report.skipped and not hasattr(report, 'wasxfail'):
        report.outcome,report.longrepr = 'failed',f'{item.nodeid} was skipped, but EDMXL_ALL demands that it runs: {report.longrepr}'
