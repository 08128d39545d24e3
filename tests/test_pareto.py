"A race of samplers on a tiny study: as a user runs it, stopped and gone on with, and refused where it must be."
import json
import shutil

import pytest
from conftest import edmxl

from edmxl.workbench.pareto_page import cost_section, pareto_section

SETTINGS = ['euler-2', 'heun-2', 'heun-10'] # the last is the model's own

def words(study, out, **more):
    p = dict(data=study/'prepare'/'dataset', labels=study/'prepare'/'label_maps', models=study/'train_diffusion'/'model.safetensors',
             solvers='euler,heun', sampling_steps='2', images=9, steps=6, repeats=2, rungs=2, draws=50, nproc=1, device='cpu',
             precision='fp32', threads=1) | more
    return ['run', 'pareto', '-o', out, *[w for k,v in p.items() for w in ('-p', k, str(v))]]

@pytest.fixture(scope='module')
def raced(tiny_study, tmp_path_factory):
    out = tmp_path_factory.mktemp('race')/'pareto'
    code,_,err = edmxl(*words(tiny_study, out))
    assert code==0, err
    return out

def test_the_record(raced):
    m = json.loads((raced/'run.json').read_text())['metrics']
    rows = {r['name']: r for r in m['settings']}
    assert sorted(rows)==sorted(SETTINGS) and m['reference']=='heun-10' and m['n_settings']==3
    assert [rows[n]['nfe'] for n in SETTINGS]==[2, 3, 19]
    assert all(r['gflop_per_image']>0 and r['seconds_per_image']>0 and 0<=r['dice']<=1 for r in rows.values())
    assert m['recommended'] in m['front'] and all(not rows[n]['dominated'] and not rows[n]['stopped'] for n in m['front'])
    assert not rows['heun-10']['stopped']                             # the reference is always measured with the full budget
    assert [(r['images'], r['steps'], r['repeats']) for r in m['rungs']]==[(3,2,1), (9,6,2)]
    assert set(m['test']['scores'])=={m['recommended'], 'heun-10'} and m['test']['n_test']==12 and m['n_select']==4

def test_what_the_report_shows(raced, tiny_study):
    s = pareto_section(raced)
    m = json.loads((raced/'run.json').read_text())['metrics']
    assert m['recommended'] in s.answer and len(s.items[4].rows)==3
    assert f'--steps {m["recommended"].split("-")[-1]}' in s.items[2].words
    assert cost_section(tiny_study/'generate').items[0].rows[0][1]==3

def test_the_same_command_keeps_and_a_stopped_race_goes_on(raced, tiny_study, tmp_path):
    out = tmp_path/'pareto'
    shutil.copytree(raced, out)
    before = json.loads((out/'run.json').read_text())
    assert edmxl(*words(tiny_study, out))[0]==0 and json.loads((out/'run.json').read_text())==before
    (out/'run.json').unlink()                                        # as if stopped in the middle of the last trial of the race
    last = max(out.glob('settings/*/rung-1/trial.json'), key=lambda p: p.stat().st_mtime)
    last.unlink(); (last.parent/'segmenter-r1.safetensors').unlink()
    kept = {p: p.stat().st_mtime_ns for p in out.glob('settings/*/rung-*/trial.json')}
    assert edmxl(*words(tiny_study, out))[0]==0
    after = json.loads((out/'run.json').read_text())
    assert all(p.stat().st_mtime_ns==t for p,t in kept.items()) and last.exists()
    assert after['metrics']==before['metrics']

def test_bad_input_writes_nothing(tiny_study, tmp_path):
    for more,said in ((dict(solvers='magic'), 'unknown solver "magic"'), (dict(sampling_steps='3,3'), 'different numbers'),
                      (dict(models=tmp_path/'none.safetensors'), 'none.safetensors')):
        code,_,err = edmxl(*words(tiny_study, tmp_path/'x', **more))
        assert code==2 and said in err and not (tmp_path/'x').exists()
