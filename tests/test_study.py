"The whole study through the real command: complete, recorded, kept, interrupted by hand, killed."
import json
import signal

import pytest
from conftest import ONE, STAGES, TINY, edmxl, given, interrupt, metrics, one_line_a_step, record, study, trained

from edmxl.training.checkpoints import checkpoints

def no_nan(text): raise AssertionError(f'{text} in a JSON file')

def test_study_record(tiny_study):
    r = json.loads((tiny_study/'study.json').read_text(), parse_constant=no_nan)
    assert set(r)=={'schema','data','stages','results','comparisons','label_fidelity','cost'} and r['schema']==1
    assert list(r['stages'])==STAGES and set(r['cost'])=={'nfe','gflop_per_image','seconds_per_image'}
    for s in r['stages'].values():
        assert set(s)=={'seconds','run'} and (tiny_study/s['run']).is_file() and s['seconds']>0
    assert list(r['results'])==['real','synthetic','real+synthetic']
    for score in r['results'].values():
        assert {'undefined','view_accuracy','view_accuracy_ci','view_accuracy_sd','n_train','repeats','clinical'}<=set(score)
        for k in ('dice','hd95','assd'): assert set(score[k])==set(score[k+'_ci'])==set(score[k+'_sd'])=={'lv_endo','lv_epi','la','mean'}
        assert all(ci is None or len(ci)==2 for ci in (*score['dice_ci'].values(), score['view_accuracy_ci']))
    assert [s['n_train'] for s in r['results'].values()]==[16,16,32]
    assert 0<=r['label_fidelity']<=1 and r['cost']['nfe']==3 and r['cost']['gflop_per_image']>0

@pytest.mark.parametrize('name', STAGES)
def test_every_run_is_recorded(tiny_study, name):
    r = record(tiny_study, name)
    assert r['name']==name and r['threads']>0 and r['peak_memory_mb']>0 and r['versions']['torch']
    assert (tiny_study/name/f'{name}.ipynb').is_file()
    assert all((tiny_study/name/p).exists() for p in r['products'])

def test_complete_stages_are_kept(tiny_study):
    before = {n: (tiny_study/n/'run.json').stat().st_mtime_ns for n in STAGES}
    code,said,_ = edmxl('study', '-o', tiny_study, *TINY, *ONE)
    assert code==0 and said.count('complete, kept')==len(STAGES)
    assert {n: (tiny_study/n/'run.json').stat().st_mtime_ns for n in STAGES}==before

def test_interrupted_by_hand_with_another_seed(tiny_study, tmp_path):
    "Ctrl-C inside the training: exit 130, and the training goes on. Another seed gives another model."
    out,words = tmp_path/'S',(*ONE, '--seed', '1')
    interrupt(study(out, *words), out, lambda: trained(out, 12), signal.SIGINT, 130)
    assert record(out, 'prepare')['seed']==1 and not (out/'train_diffusion'/'run.json').exists()
    asked = tmp_path/'asked.json' # JSON is YAML
    asked.write_text(json.dumps(json.loads((out/'train_diffusion'/'config.json').read_text())['config']))
    code,_,err = edmxl('run', 'train_diffusion', '-f', asked)
    assert code==0 and one_line_a_step(out), err
    ours,others = (record(s, 'train_diffusion')['metrics'] for s in (tiny_study, out))
    assert ours['steps']==others['steps'] and ours['loss']!=others['loss'] and ours['val_loss']!=others['val_loss']

def test_killed_twice_it_ends_as_if_nothing_had_happened(tmp_path, tiny_study):
    "kill -9 inside the training, then while two processes draw: the same command goes on, to the very same metrics."
    out,two = tmp_path/'S',given('generate', nproc=2)
    interrupt(study(out, *two), out, lambda: trained(out, 12), signal.SIGKILL, -9)
    assert not (out/'train_diffusion'/'run.json').exists() and checkpoints(out/'train_diffusion')
    interrupt(study(out, *two), out, (out/'generate'/'dataset'/'plan.json').exists, signal.SIGKILL, -9)
    assert one_line_a_step(out) and record(out, 'train_diffusion')['resumed']
    assert not (out/'generate'/'dataset'/'dataset.json').exists()
    p = study(out, *two)
    said,_ = p.communicate()
    kept = [l.split()[1] for l in said.splitlines() if 'complete, kept' in l]
    assert p.returncode==0 and kept==['prepare:', 'train_diffusion:']
    assert metrics(out)==metrics(tiny_study)
