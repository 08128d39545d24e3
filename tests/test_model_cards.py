"A model card beside every model of a study, and no number on it that is in no record."
import hashlib
import json
import shutil

import pytest
from conftest import record

from edmxl.models.weights import read_meta
from edmxl.workbench.model_cards import untraced, write_cards
from edmxl.workbench.report import StudyFiles

TRAININGS = ['train_diffusion', 'train_segmentation', 'train_classification']

@pytest.fixture(scope='module')
def cards(tiny_study): return {n: (tiny_study/n/'MODEL_CARD.md').read_text() for n in TRAININGS}

def test_the_report_writes_and_lists_them(tiny_study, cards):
    r = record(tiny_study, 'report')
    listed = [f'../{n}/MODEL_CARD.md' for n in TRAININGS]
    assert r['metrics']['model_cards']==listed and set(listed)<=set(r['products'])
    assert all((tiny_study/'report'/p).is_file() for p in r['products'])

@pytest.mark.parametrize('name', TRAININGS)
def test_every_number_is_in_a_record(tiny_study, cards, name):
    records = [json.loads(p.read_text()) for p in tiny_study.glob('*/run.json')]
    models = sorted((tiny_study/name).glob('*.safetensors'))
    models = [p for p in models if f'`{p.name}`' in cards[name]]
    assert models and untraced(cards[name], records+[read_meta(p) for p in models])==[]
    for p in models: assert hashlib.sha256(p.read_bytes()).hexdigest() in cards[name]
    for p in tiny_study.glob('*/run.json'):
        if p.parent.name!='report': assert hashlib.sha256(p.read_bytes()).hexdigest() in cards[name]

@pytest.mark.parametrize('name', TRAININGS)
def test_it_says_what_a_reader_must_know(tiny_study, cards, name):
    heads = [l[3:] for l in cards[name].splitlines() if l.startswith('## ')]
    assert [h for h in heads if h not in ('Fidelity','Replica check')]==['Data and licence', 'Training', 'Intended use',
        'Out of scope', 'Scores',
                                                                         'Limits', 'How to use', 'Sources']
    assert 'Replica check' in heads and 'MIT' in cards[name] and 'Not a medical device' in cards[name]
    results = record(tiny_study, 'evaluate')['metrics']['results']
    for r in results.values():
        score = r['view_accuracy'] if name=='train_classification' else r['dice']['mean']
        assert f'{score:.3f}' in cards[name]
    tables = [l for l in cards[name].splitlines() if l.startswith('|')]
    assert all(l.endswith(' |') for l in tables)

def test_what_was_not_measured_is_said(tiny_study, tmp_path):
    for n in ('train_diffusion','prepare'):
        (tmp_path/n).mkdir()
        for f in ('run.json','model.safetensors'):
            if (tiny_study/n/f).is_file(): shutil.copy(tiny_study/n/f, tmp_path/n/f)
    (card,) = write_cards(StudyFiles(tmp_path))
    text = card.read_text()
    assert 'Not checked: there is no `replicas/run.json`' in text and 'Not measured: there is no `evaluate/run.json`' in text
    assert 'Dice' not in text
