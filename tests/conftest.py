"What the tests share: the command `edmxl` as a user runs it, and a study small enough to run in a test."
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PHANTOM = ['-p', 'prepare.size', '32', '-p', 'prepare.patients', '4,2,2']
TINY = ['-p', 'train_diffusion.steps', '6', '-p', 'generate.steps', '2', '-p', 'generate.nproc', '1', '-p', 'train_segmentation.steps', '4',
        '-p', 'train_classification.steps', '4', '-p', 'evaluate.draws', '50', '--device', 'cpu', '--precision', 'fp32',
        *(w for stage in ('diffusion','segmentation','classification') for w in ('-p', f'train_{stage}.batch', '4', '-p', f'train_{stage}.threads', '1')),
        '-p', 'evaluate.threads', '1']

def environment():
    return os.environ | dict(PYTHONPATH=str(ROOT), MPLBACKEND='agg')

def edmxl(*words, cwd=None):
    "Run the command; its exit code, output and errors."
    p = subprocess.run([sys.executable, '-m', 'edmxl', *map(str, words)], capture_output=True, text=True, cwd=cwd, env=environment())
    return p.returncode, p.stdout, p.stderr

@pytest.fixture(scope='session')
def tiny_study(tmp_path_factory):
    "Folder of a complete tiny study with seed 0."
    out = tmp_path_factory.mktemp('study')/'S'
    code,said,err = edmxl('study', '-o', out, *PHANTOM, *TINY)
    assert code==0, err
    return out
