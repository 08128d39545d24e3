"The whole study through the real command: complete, kept, resumed after a kill, reproducible."
import json
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from conftest import ONE, TINY, edmxl, environment, given

STAGES = ['prepare', 'train_diffusion', 'generate', 'train_segmentation', 'train_classification', 'evaluate', 'report']
REAL = [w for stage in ('segmentation','classification') for w in given(f'train_{stage}', trained_on='real')]
whole = pytest.mark.xdist_group('study')        # these read the one tiny study
interrupted = pytest.mark.xdist_group('killed') # this one makes a study of its own meanwhile

def record(folder, name): return json.loads((folder/name/'run.json').read_text())
def metrics(folder): return {n: record(folder, n)['metrics'] for n in STAGES}
def no_nan(text): raise AssertionError(f'{text} in a JSON file')

@whole
def test_study_record(tiny_study):
    r = json.loads((tiny_study/'study.json').read_text(), parse_constant=no_nan)
    assert set(r)=={'schema','data','stages','results','label_fidelity','cost'} and r['schema']==1
    assert list(r['stages'])==STAGES and set(r['cost'])=={'nfe','gflop_per_image','seconds_per_image'}
    for s in r['stages'].values():
        assert set(s)=={'seconds','run'} and (tiny_study/s['run']).is_file() and s['seconds']>0
    assert list(r['results'])==['real','synthetic','real+synthetic']
    for score in r['results'].values():
        assert set(score)=={'dice','dice_ci','hd95','view_accuracy','view_accuracy_ci','n_train'}
        assert set(score['dice'])==set(score['dice_ci'])==set(score['hd95'])=={'lv_endo','lv_epi','la','mean'}
        assert all(ci is None or len(ci)==2 for ci in (*score['dice_ci'].values(), score['view_accuracy_ci']))
    assert [s['n_train'] for s in r['results'].values()]==[16,16,32]
    assert 0<=r['label_fidelity']<=1 and r['cost']['nfe']==3 and r['cost']['gflop_per_image']>0

@whole
@pytest.mark.parametrize('name', STAGES)
def test_every_run_is_recorded(tiny_study, name):
    r = record(tiny_study, name)
    assert r['name']==name and r['threads']>0 and r['peak_memory_mb']>0 and r['versions']['torch']
    assert (tiny_study/name/f'{name}.ipynb').is_file()
    assert all((tiny_study/name/p).exists() for p in r['products'])

@whole
def test_complete_stages_are_kept(tiny_study):
    before = {n: (tiny_study/n/'run.json').stat().st_mtime_ns for n in STAGES}
    code,said,_ = edmxl('study', '-o', tiny_study, *TINY, *ONE)
    assert code==0 and said.count('complete, kept')==len(STAGES)
    assert {n: (tiny_study/n/'run.json').stat().st_mtime_ns for n in STAGES}==before

def study(out, *words):
    "The study's command in a session of its own, so that a signal reaches only this process."
    words = [sys.executable, '-m', 'edmxl', 'study', '-o', str(out), *TINY, *words]
    return subprocess.Popen(words, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                            start_new_session=True)

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

@interrupted
def test_killed_twice_it_ends_as_if_nothing_had_happened(tmp_path, request):
    "kill -9 inside the training, then while two processes draw: the same command goes on, to the very same metrics."
    out,two = tmp_path/'S',given('generate', nproc=2)
    interrupt(study(out, *two), out, lambda: trained(out, 12), signal.SIGKILL, -9)
    assert not (out/'train_diffusion'/'run.json').exists() and (out/'train_diffusion'/'checkpoint.safetensors').exists()
    interrupt(study(out, *two), out, (out/'generate'/'dataset'/'job.json').exists, signal.SIGKILL, -9)
    assert one_line_a_step(out) and record(out, 'train_diffusion')['resumed']
    assert not (out/'generate'/'dataset'/'dataset.json').exists()
    p = study(out, *two)
    said,_ = p.communicate()
    kept = [l.split()[1] for l in said.splitlines() if 'complete, kept' in l]
    assert p.returncode==0 and kept==['prepare:', 'train_diffusion:']
    assert metrics(out)==metrics(request.getfixturevalue('tiny_study'))

@whole
def test_interrupted_by_hand_with_another_seed(tiny_study, tmp_path):
    "Ctrl-C inside the training: exit 130, the same command goes on; and another seed gives other metrics."
    out,words = tmp_path/'S',(*ONE, *REAL, '--seed', '1')
    interrupt(study(out, *words), out, lambda: trained(out, 12), signal.SIGINT, 130)
    assert not (out/'train_diffusion'/'run.json').exists()
    code,said,err = edmxl('study', '-o', out, *TINY, *words)
    assert code==0 and said.count('complete, kept')==1, err
    assert one_line_a_step(out) and list(json.loads((out/'study.json').read_text())['results'])==['real']
    a,b = metrics(tiny_study),metrics(out)
    assert a['train_diffusion']['loss']!=b['train_diffusion']['loss']
    assert a['evaluate']['results']['real']!=b['evaluate']['results']['real']
