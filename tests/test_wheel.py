"An installed wheel works without the clone: it carries the run notebooks and the models that ship."
import shutil
import subprocess
import sys

from conftest import ROOT, edmxl, environment

from edmxl.workbench.configs import CONFIGS

PIP = ('-m', 'pip', '--disable-pip-version-check')


def run(*words, **kw):
    "Output of this Python with these words; an error fails the test."
    p = subprocess.run([sys.executable, *map(str, words)], capture_output=True, text=True, **kw)
    assert p.returncode==0, p.stderr
    return p.stdout

def test_wheel_finds_its_notebooks(tmp_path):
    source,site = tmp_path/'source',tmp_path/'site'
    for d in ('edmxl', 'nbs/runs', 'trained_models/demo'):
        shutil.copytree(ROOT/d, source/d, ignore=shutil.ignore_patterns('__pycache__', '.ipynb_checkpoints'))
    for f in ('settings.ini', 'setup.py', 'LICENSE'): shutil.copy(ROOT/f, source/f)
    run(*PIP, 'wheel', '--no-deps', '--no-build-isolation', '--wheel-dir', tmp_path, source)
    wheel, = tmp_path.glob('edmxl-*.whl')
    run(*PIP, 'install', '--no-deps', '--target', site, wheel)
    assert [p.stem[3:] for p in sorted((site/'edmxl'/'runs').glob('*.ipynb'))]==list(CONFIGS)
    code,said,err = edmxl('run', '--list', cwd=tmp_path, path=site)
    assert code==0 and [l.split()[0] for l in said.splitlines()]==list(CONFIGS), err
    code,said,err = edmxl('run', 'train_diffusion', '--help', cwd=tmp_path, path=site)
    assert code==0 and 'optimiser steps' in said, err
    code = 'from edmxl.workbench.runs import run_notebook; print(run_notebook("generate"))'
    assert str(site) in run('-c', code, cwd=tmp_path, env=environment(site))
    code = 'from edmxl.workbench.demo_models import SHIPPED, demo_model; print(*map(demo_model, SHIPPED))'
    assert run('-c', code, cwd=tmp_path, env=environment(site)).count(str(site))==4
