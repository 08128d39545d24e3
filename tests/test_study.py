"The whole study through the real command: complete, resumed after a kill, reproducible."
import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import PHANTOM, TINY, edmxl, environment

STAGES = ['prepare', 'train_diffusion', 'generate', 'train_segmentation', 'train_classification', 'evaluate', 'report']

def record(folder, name): return json.loads((folder/name/'run.json').read_text())

def no_nan(text): raise AssertionError(f'{text} in a JSON file')

def test_study_record(tiny_study):
    r = json.loads((tiny_study/'study.json').read_text(), parse_constant=no_nan)
    assert set(r)=={'schema','data','stages','results','label_fidelity','cost'} and r['schema']==1
    assert list(r['stages'])==STAGES
    assert all((tiny_study/s['run']).is_file() and s['seconds']>0 for s in r['stages'].values())
    assert list(r['results'])==['real','synthetic','real+synthetic']
    for score in r['results'].values():
        assert set(score)=={'dice','dice_ci','hd95','view_accuracy','view_accuracy_ci','n_train'}
        assert set(score['dice'])==set(score['dice_ci'])==set(score['hd95'])=={'lv_endo','lv_epi','la','mean'}
    assert [s['n_train'] for s in r['results'].values()]==[16,16,32]
    assert r['cost']['nfe']==3 and r['cost']['gflop_per_image']>0

@pytest.mark.parametrize('name', STAGES)
def test_every_run_is_recorded(tiny_study, name):
    r = record(tiny_study, name)
    assert r['name']==name and r['threads']>0 and r['peak_memory_mb']>0 and r['versions']['torch']
    assert (tiny_study/name/f'{name}.ipynb').is_file()
    assert all((tiny_study/name/p).exists() for p in r['products'])

def test_complete_stages_are_kept(tiny_study):
    before = {n: (tiny_study/n/'run.json').stat().st_mtime_ns for n in STAGES}
    code,said,_ = edmxl('study', '-o', tiny_study, *PHANTOM, *TINY)
    assert code==0 and said.count('complete, kept')==len(STAGES)
    assert {n: (tiny_study/n/'run.json').stat().st_mtime_ns for n in STAGES}==before

def start(out): # a session of its own, so that only this study is killed
    words = [sys.executable, '-m', 'edmxl', 'study', '-o', str(out), *PHANTOM, *TINY, '-p', 'train_diffusion.steps', '40']
    return subprocess.Popen(words, env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)

def until(ready, seconds=120):
    end = time.monotonic()+seconds
    while not ready():
        assert time.monotonic()<end
        time.sleep(.05)

@pytest.mark.parametrize('sign,code', [(signal.SIGKILL,-9), (signal.SIGINT,130)], ids=['kill -9','Ctrl-C'])
def test_goes_on_after_an_interruption(tiny_study, tmp_path, sign, code):
    "Killed inside a training, the same command keeps what is complete and ends with the record that it would have had."
    out = tmp_path/'S'
    shutil.copytree(tiny_study/'prepare', out/'prepare')
    p = start(out)
    lines = out/'train_diffusion'/'metrics.jsonl'
    until(lambda: lines.exists() and lines.read_text().count('\n')>=12)
    os.kill(p.pid, sign)
    assert p.wait()==code
    assert not (out/'train_diffusion'/'run.json').exists() and (out/'train_diffusion'/'checkpoint.safetensors').exists()
    until(lambda: not alive(out)) # its kernel ends with it
    r = subprocess.run([sys.executable, '-m', 'edmxl', 'run', 'train_diffusion', '-f', str(tmp_path/'params.json')],
                       capture_output=True, text=True, env=environment()) if params(out, tmp_path) else None
    assert r.returncode==0, r.stderr
    steps = [json.loads(l)['step'] for l in lines.read_text().splitlines()]
    assert steps==list(range(1, 41)) and record(out, 'train_diffusion')['resumed']

def params(out, tmp_path):
    "The configuration that the study had given to its training."
    return (tmp_path/'params.json').write_text(json.dumps(json.loads((out/'train_diffusion'/'config.json').read_text())['config']))

def alive(out):
    "Processes that hold a file in `out` open or name it."
    import psutil
    return [p for p in psutil.process_iter(['cmdline','open_files']) if any(str(out) in f.path for f in p.info['open_files'] or ())]

def test_same_seed_same_metrics_another_seed_others(tiny_study, tmp_path):
    metrics = {}
    for seed in ('0','1'):
        code,_,err = edmxl('study', '-o', tmp_path/seed, '--seed', seed, *PHANTOM, *TINY)
        assert code==0, err
        metrics[seed] = [record(tmp_path/seed, n)['metrics'] for n in STAGES]
    assert metrics['0']==[record(tiny_study, n)['metrics'] for n in STAGES]
    assert metrics['1'][1]!=metrics['0'][1] and metrics['1'][5]!=metrics['0'][5]
