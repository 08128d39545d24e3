"""Readers against real CAMUS files, where these stand beside the repository (`../shared/camus`); skipped elsewhere."""
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from edmxl.data.dataset import study_splits
from edmxl.data.files import BadInput, read_png
from edmxl.data.label_maps import LA, LV, MYO
from edmxl.data.new_label_maps import draw_map, is_heart, make_pool
from edmxl.data.readers import (apex_up, find_camus, find_pairs, official_splits, read_camus, read_pairs, read_volume,
                                regular_sector, write_camus, write_pairs)
from edmxl.data.resampling import resample_labels, stretch

CAMUS = Path(__file__).resolve().parents[2]/'shared'/'camus'
pytestmark = pytest.mark.skipif(not CAMUS.is_dir(), reason=f'no real echoes at {CAMUS}: CAMUS is not in the repository')


def dice(a, b, *labels):
    a, b = np.isin(a, labels), np.isin(b, labels)
    return 2*(a & b).sum()/(a.sum() + b.sum())


@pytest.fixture(scope='module')
def pairs64(tmp_path_factory):
    return write_pairs(tmp_path_factory.mktemp('real')/'pairs', CAMUS/'png224', 64)


def test_pairs_are_all_read(pairs64):
    assert Counter(r.split for r in pairs64.rows) == dict(train=816, val=200)
    patients = {s: {pairs64.rows[i].patient for i in pairs64.where(s)} for s in ('train', 'val')}
    assert (len(patients['train']), len(patients['val'])) == (204, 50)
    official = official_splits(CAMUS/'png224')
    assert all(official[r.patient] == r.split for r in pairs64.rows)
    assert all(r.spacing_mm_row is None for r in pairs64.rows)


def test_sector_is_exact_in_every_resampled_pair(pairs64):
    a = pairs64.arrays()
    assert ((a.images == 0) == (a.sector == 0)).all()
    for p, image in zip(find_pairs(CAMUS/'png224')[::25], a.images[::25], strict=True):
        source = read_png(p.image)
        assert (resample_labels(source != 0, stretch(source.shape), 64) == (image != 0)).all()


def test_sectors_are_one_piece_and_upright(pairs64):
    assert all(apex_up(x != 0) for x in pairs64.arrays().images)
    assert all(regular_sector(read_png(p.image)) for p in find_pairs(CAMUS/'png224')[::10])


def test_reading_at_the_own_size_changes_nothing():
    pairs = find_pairs(CAMUS/'png224')[:8]
    for p, e in zip(pairs, read_pairs(pairs, 224), strict=True):
        assert (e.image == read_png(p.image)).all()
        assert (e.anatomy == read_png(p.labels)).all()


def test_labels_reach_beyond_the_sector(pairs64):
    a = pairs64.arrays()
    assert ((a.anatomy > 0) & (a.sector == 0)).any(axis=(1, 2)).mean() > 0.5


def test_nifti_release_is_read_upright_and_isotropic():
    pairs = find_camus(CAMUS/'nifti')
    assert Counter(p.row.split for p in pairs) == dict(train=10, val=6)
    for p, e in zip(pairs, read_camus(pairs, 256), strict=True):
        image, spacing = read_volume(p.image)
        labels, _ = read_volume(p.labels)
        assert spacing == pytest.approx((0.308, 0.308), abs=1e-4)
        assert e.row.spacing_mm_row == e.row.spacing_mm_col == pytest.approx(max(image.shape)*0.308/256, rel=1e-4)
        for s in (LV, MYO, LA):
            area = (e.anatomy == s).sum()*e.row.spacing_mm_row**2
            assert area == pytest.approx((labels == s).sum()*0.308**2, rel=0.02)


def test_nifti_agrees_with_the_stretched_png():
    """The PNG masks were resampled linearly: README says Dice 0.984 to 0.993 against the originals."""
    found = {p.row.name: p for p in find_pairs(CAMUS/'png224')}
    compared = 0
    for p in find_camus(CAMUS/'nifti'):
        if p.row.name not in found:
            continue
        image, labels = (read_volume(q)[0] for q in p[:2])
        png, gt = (read_png(q) for q in found[p.row.name][:2])
        mine = resample_labels(labels, stretch(labels.shape), 224)
        assert dice(mine, gt, LV, MYO, LA) > 0.97
        assert dice(mine, gt, LV) > 0.97
        sector = resample_labels((image != 0).astype(np.uint8), stretch(image.shape), 224)
        assert dice(sector, png != 0, True) > 0.98
        compared += 1
    assert compared >= 4


def test_the_two_releases_show_one_patient_with_other_masks():
    """An .mhd stored with flat pixels and a NIfTI with square ones must lie on each other once both are read."""
    today = {e.row.name: e for e in read_camus(find_camus(CAMUS/'nifti'), 256)}
    old = {e.row.name: e for e in read_camus(find_camus(CAMUS/'mhd'), 256)}
    both = sorted(today.keys() & old.keys())
    assert both == ['patient0001_4CH_ED', 'patient0001_4CH_ES']
    assert {e.row.view for e in old.values()} == {'2CH', '4CH'}
    for n in both:
        a, b = today[n], old[n]
        assert b.row.spacing_mm_row == pytest.approx(a.row.spacing_mm_row, rel=1e-3)
        myo, lv = dice(a.anatomy, b.anatomy, MYO), dice(a.anatomy, b.anatomy, LV)
        assert 0.95 < myo < 0.99 and lv > myo
        assert dice(a.image != 0, b.image != 0, True) > 0.99
        inside = (a.image > 0) & (b.image > 0)
        assert np.corrcoef(a.image[inside], b.image[inside])[0, 1] > 0.95


def test_transposed_full_resolution_is_refused():
    image = read_png(sorted((CAMUS/'png_fullres_4ch'/'images').glob('*.png'))[0])
    assert not apex_up(image != 0) and apex_up(image.T != 0)


def test_other_label_values_are_refused(tmp_path):
    """`png_fullres_4ch` stores 85 times the class."""
    folder = tmp_path/'src'/'val'
    folder.mkdir(parents=True)
    for d, end in (('images', ''), ('labels', '_gt')):
        one = sorted((CAMUS/'png_fullres_4ch'/d).glob('*.png'))[0]
        (folder/f'p1_4CH_ED{end}.png').write_bytes(one.read_bytes())
    with pytest.raises(BadInput, match='holds label 85'):
        write_pairs(tmp_path/'out', tmp_path/'src', 64)
    assert [p.name for p in tmp_path.iterdir()] == ['src']


def test_real_label_maps_keep_the_rules_of_new_ones(pairs64):
    a, rows = pairs64.arrays(), study_splits(pairs64, 0)
    assert np.mean([is_heart(np.array(x)) for x in a.anatomy]) >= 0.99
    pool = make_pool(pairs64, rows.train)
    assert np.mean([pool.limits.allow(np.array(a.anatomy[i]), a.sector[i] > 0) for i in rows.test]) >= 0.97


def test_new_label_maps_vary_like_real_ones(pairs64):
    pool = make_pool(pairs64, study_splits(pairs64, 0).train)
    drawn = [draw_map(pool, 0, i) for i in range(100)]
    assert sum(k > 0 for _, k in drawn) <= 10
    new, patients = np.stack([e.anatomy for e, _ in drawn]), np.array([r.patient for r in pool.rows])

    def nearest(x, others):
        return max(np.mean([dice(x, y, s) for s in (LV, MYO, LA)]) for y in others)
    made = np.median([nearest(x, pool.anatomy[::4]) for x in new[::4]])
    real = np.median([nearest(x, pool.anatomy[::4][patients[::4] != p])
                      for x, p in zip(pool.anatomy[::30], patients[::30], strict=True)])
    assert abs(made-real) < 0.04
    for s in (LV, MYO, LA):
        spread = np.std((new == s).mean((1, 2)))/np.std((pool.anatomy == s).mean((1, 2)))
        assert 0.7 < spread < 1.4


def test_clinical_values_of_the_old_release_are_kept(tmp_path):
    ds = write_camus(tmp_path/'ds', CAMUS/'mhd', 32)
    assert ds.meta['clinical'] == dict(patient0001=dict(edv_ml=94.0, esv_ml=34.6, ef_percent=63.2))
    v = ds.meta['clinical']['patient0001']
    assert v['ef_percent'] == pytest.approx(100*(1-v['esv_ml']/v['edv_ml']), abs=0.05)
    assert 'clinical' not in write_camus(tmp_path/'none', CAMUS/'nifti', 32).meta
