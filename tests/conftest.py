"What the tests share: the command `edmxl` as a user runs it, and a study small enough to run in a test."
import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent

def given(stage, **values): return [w for k,v in values.items() for w in ('-p', f'{stage}.{k}', str(v))]

TINY = [*given('prepare', size=16, patients='4,1,2'), *given('train_diffusion', steps=40, batch=4, threads=1),
        *given('generate', steps=2), *given('train_segmentation', steps=4, batch=4, threads=1),
        *given('train_classification', steps=4, batch=4, threads=1), *given('evaluate', draws=50, threads=1),
        '--device', 'cpu', '--precision', 'fp32']
ONE = given('generate', nproc=1)

def environment(path=ROOT): return os.environ | dict(PYTHONPATH=str(path), MPLBACKEND='agg')

def edmxl(*words, cwd=None, path=ROOT):
    "Run the command; its exit code, output and errors."
    p = subprocess.run([sys.executable, '-m', 'edmxl', *map(str, words)], capture_output=True, text=True, cwd=cwd,
                       env=environment(path))
    return p.returncode, p.stdout, p.stderr

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
