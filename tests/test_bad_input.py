"Bad input through the command line: exit 2, one clear message, nothing written."
import csv
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from conftest import edmxl

from edmxl.data.dataset import Echo, EchoRow, write_dataset
from edmxl.data.files import write_png
from edmxl.data.label_maps import sector_labels


def heart(size):
    a = np.zeros((size,size), np.uint8)
    a[size//4:size//2,size//3:2*size//3] = 2
    a[size//3:size//2-1,size//3+2:2*size//3-2] = 1
    a[size//2:3*size//4,size//3:2*size//3] = 3
    return a

@pytest.fixture
def pairs(tmp_path):
    "A small folder of pairs that is in order."
    for split in ('train','val','test'):
        for p in (1,2):
            stem = tmp_path/'src'/split/f'{split}{p:04d}_2CH_ED'
            write_png(stem.with_suffix('.png'), np.full((40,40), 90, np.uint8))
            write_png(stem.with_name(stem.name+'_gt.png'), heart(40))
    return tmp_path/'src'

@pytest.fixture
def dataset(tmp_path):
    "A small echo dataset that is in order."
    def echoes(size=32):
        for i in range(8):
            row = EchoRow(f'p{i}_2CH_ED', f'p{i}', ('2CH','4CH')[i%2], 'ED', ('train','train','val','test')[i%4])
            sector = sector_labels(heart(size), np.ones((size,size), bool))
            yield Echo(row, np.full((size,size), 90, np.uint8), sector, heart(size))
    write_dataset(tmp_path/'D', echoes(), 32, 'test', 'MIT')
    return tmp_path/'D'

def files(folder): return {p: p.read_bytes() for p in sorted(Path(folder).rglob('*')) if p.is_file()}

def refused(folder, part, *words):
    "The command says `part` in one line, exits with 2 and leaves `folder` as it was."
    before = files(folder)
    code,said,err = edmxl(*words)
    assert code==2, (code, said, err)
    assert part in err and err.startswith('edmxl: ') and err.count('\n')==1 and 'Traceback' not in err, err
    assert files(folder)==before

def first(src, ending): return sorted(src.rglob('*'+ending))[0]

def prepare(tmp_path, part, src, source='pairs'):
    refused(tmp_path, part, 'prepare', source, '--src', src, '--out', tmp_path/'new', '--size', '32')

def study(tmp_path, part, data, *words): refused(tmp_path, part, 'study', '--data', data, '-o', tmp_path/'S', *words)

@pytest.mark.parametrize('source', ['pairs','camus'])
def test_missing_and_empty_folder(tmp_path, source):
    prepare(tmp_path, 'not found', tmp_path/'nothing', source)
    (tmp_path/'empty').mkdir()
    prepare(tmp_path, 'expected', tmp_path/'empty', source)

def test_mask_of_another_size(tmp_path, pairs):
    write_png(first(pairs, '_gt.png'), heart(30))
    prepare(tmp_path, 'expected one size', pairs)

def test_label_seven(tmp_path, pairs):
    bad = heart(40); bad[0,0] = 7
    write_png(first(pairs, '_gt.png'), bad)
    prepare(tmp_path, 'label 7', pairs)

def test_truncated_png(tmp_path, pairs):
    p = first(pairs, 'ED.png')
    p.write_bytes(p.read_bytes()[:-30])
    prepare(tmp_path, 'cannot be read', pairs)

def test_all_zero(tmp_path, pairs):
    write_png(first(pairs, 'ED.png'), np.zeros((40,40), np.uint8))
    prepare(tmp_path, 'all zero', pairs)

def test_image_without_label_map(tmp_path, pairs):
    first(pairs, '_gt.png').unlink()
    prepare(tmp_path, 'no label map', pairs)

def test_nifti_without_gt(tmp_path):
    import nibabel
    folder = tmp_path/'camus'/'patient0001'
    folder.mkdir(parents=True)
    nibabel.save(nibabel.Nifti1Image(np.full((30,40), 9, np.uint8), np.eye(4)), folder/'patient0001_2CH_ED.nii.gz')
    prepare(tmp_path, '_gt', tmp_path/'camus', 'camus')

def edit_index(dataset, change):
    with open(dataset/'index.csv', newline='') as f: rows = list(csv.DictReader(f))
    change(rows)
    with open(dataset/'index.csv', 'w', newline='') as f:
        w = csv.DictWriter(f, rows[0]); w.writeheader(); w.writerows(rows)

def test_two_rows_with_one_name(tmp_path, dataset):
    edit_index(dataset, lambda rows: rows.append(dict(rows[0])))
    study(tmp_path, 'occur twice', dataset)

def test_patient_in_two_splits(tmp_path, dataset):
    edit_index(dataset, lambda rows: rows[2].update(patient=rows[0]['patient']))
    study(tmp_path, 'is in train and in val', dataset)

def test_study_without_data(tmp_path): study(tmp_path, 'not found', tmp_path/'nothing')

@pytest.mark.parametrize('kind', ['images','sector','anatomy'])
def test_study_on_a_damaged_dataset(tmp_path, dataset, kind):
    p = first(dataset/kind, '.png')
    p.write_bytes(p.read_bytes()[:50])
    study(tmp_path, 'cannot be read', dataset)

def test_study_on_a_wrong_label(tmp_path, dataset):
    write_png(first(dataset/'anatomy', '.png'), np.full((32,32), 7, np.uint8))
    study(tmp_path, 'label 7', dataset)

def test_study_of_size_60(tmp_path):
    refused(tmp_path, 'multiple of 16', 'study', '-o', tmp_path/'S', '-p', 'prepare.size', '60')

def test_unknown_words(tmp_path, dataset):
    study(tmp_path, 'unknown preset "big"', dataset, '--preset', 'big')
    study(tmp_path, 'no parameter "step"', dataset, '-p', 'generate.step', '3')
    study(tmp_path, 'no parameter "steps"', dataset, '-p', 'steps', '3')
    study(tmp_path, 'device', dataset, '--device', 'abacus')
    study(tmp_path, 'precision', dataset, '--precision', 'int4')
    refused(tmp_path, 'no parameter "step"', 'run', 'train_diffusion', '-p', 'step', '3', '-o', tmp_path/'new')
    refused(tmp_path, 'unknown run', 'run', 'train', '-o', tmp_path/'new')
    refused(tmp_path, 'steps is -1', 'run', 'train_diffusion', '-p', 'steps', '-1', '-o', tmp_path/'new')

def test_study_of_another_schema(tmp_path, dataset):
    (tmp_path/'S').mkdir()
    (tmp_path/'S'/'study.json').write_text(json.dumps(dict(schema=99)))
    study(tmp_path, 'schema 99', dataset)

def test_folder_of_something_else(tmp_path, dataset):
    shutil.copytree(dataset, tmp_path/'S')
    study(tmp_path, 'no study', dataset)

def test_bad_input_inside_a_notebook(tmp_path, dataset):
    "What only the notebook can know surfaces as the same one message."
    p = tmp_path/'params.yaml'
    p.write_text(f'data: {dataset}\npreset: demo-edm\nout: {tmp_path/"new"}\n')
    refused(tmp_path, 'has no autoencoder', 'run', 'train_autoencoder', '-f', p)
    assert not (tmp_path/'new').exists()

def test_models_of_the_wrong_kind(tmp_path, dataset):
    (tmp_path/'m.safetensors').write_bytes(b'nothing of the sort')
    refused(tmp_path, 'not a safetensors', 'weights', 'show', tmp_path/'m.safetensors')
    model,out = tmp_path/'m.safetensors',tmp_path/'new'
    refused(tmp_path, 'not a safetensors', 'predict', '--model', model, '--images', dataset/'images', '--out', out)
    refused(tmp_path, 'not a safetensors', 'generate', '--model', model, '--labels', dataset, '--out', out)
