"A mixing curve through the real command: every point has its record, runs that are complete are kept, differences are those of the scores."
import json
import shutil

import numpy as np
import pytest
from conftest import edmxl

WORDS = dict(numbers='5', all_generator=True, diffusion_steps=4, images=8, steps=4, view_steps=4, repeats=1, draws=50,
             device='cpu', precision='fp32')

def mixing(data, out):
    words = [w for k,v in WORDS.items() for w in ('-p', k, str(v))]
    return edmxl('run', 'mixing_curve', '-p', 'data', data, *words, '-o', out)

@pytest.fixture(scope='module')
def curve(tiny_study, tmp_path_factory):
    out = tmp_path_factory.mktemp('mixing')/'curve'
    code,_,err = mixing(tiny_study/'prepare'/'dataset', out)
    assert code==0, err
    return out

def test_every_point_has_its_record(curve):
    m = json.loads((curve/'run.json').read_text())['metrics']
    assert m['numbers']==[5] and m['runs']==9
    assert [(p['arm'], p['n']) for p in m['points']]==[('real',5), ('own',5), ('all',0)]
    for p in m['points']:
        r = json.loads((curve/p['record']).read_text())
        trained_on = 'real' if p['arm']=='real' else 'real+synthetic' if p['n'] else 'synthetic'
        assert r['name']=='evaluate' and r['metrics']['results'][trained_on]['dice']==p['dice']
    assert [p['n_train'] for p in m['points']]==[16, 24, 8]                # one of five patients chooses the weights
    assert {(g['arm'], g['n']) for g in m['gains']}=={('own',5)}

def test_differences_are_those_of_the_scores(curve):
    m = json.loads((curve/'run.json').read_text())['metrics']
    from edmxl.workbench.mixing import image_scores
    a,b = (image_scores(curve/'n-0005'/'evaluate', k, 'dice_mean')[2] for k in ('real+synthetic','real'))
    (g,) = [g for g in m['gains'] if (g['score'],g['arm'],g['n'])==('dice_mean','own',5)]
    assert np.isclose(g['difference'], np.nanmean(a-b))

def test_a_generator_sees_its_patients_only(curve, tiny_study):
    from edmxl.data.dataset import EchoDataset
    own,all_ = EchoDataset(curve/'n-0005'/'dataset'),EchoDataset(tiny_study/'prepare'/'dataset')
    names = lambda ds, *splits: {r.name for r in ds.rows if r.split in splits}
    assert names(own, 'test')==names(all_, 'test') and names(own, 'train')==names(all_, 'train', 'val')
    config = json.loads((curve/'n-0005'/'train_diffusion'/'run.json').read_text())['config']
    assert config['data']==str(curve/'n-0005'/'dataset')

def test_what_is_complete_is_kept(curve, tiny_study):
    "One record is lost: that run is done again, and no other."
    when = lambda: {p: p.stat().st_mtime_ns for p in curve.glob('n-*/**/run.json')}
    before,lost = when(),curve/'n-0005'/'train_classification'
    shutil.rmtree(lost)
    (curve/'run.json').unlink()
    code,_,err = mixing(tiny_study/'prepare'/'dataset', curve)
    assert code==0, err
    after = when()
    assert {p for p in before if after[p]!=before[p]}<={lost/'run.json', curve/'n-0005'/'evaluate'/'run.json'}

def test_bad_numbers_are_refused_before_anything_is_written(tiny_study, tmp_path):
    for numbers,words in (('1', 'expected 2'), ('9', 'to 5'), ('4,2', 'increasing')):
        data = tiny_study/'prepare'/'dataset'
        code,_,err = edmxl('run', 'mixing_curve', '-p', 'data', data, '-p', 'numbers', numbers, '-o', tmp_path/'x')
        assert code==2 and words in err, err
        assert not list((tmp_path/'x').glob('n-*'))

def test_its_section_of_a_report(curve):
    from edmxl.workbench.mixing_page import mixing_section
    section = mixing_section(curve)
    assert section.answer.endswith('.') and section.source=='mixing_curve/run.json'
    assert 'better' not in section.answer and all('worse' in s for s in section.first)
