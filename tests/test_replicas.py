"Copies of training images are found among new ones, and new ones are let be: on phantoms, and on real echoes where they are."
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import kstest

from edmxl.data.phantom import phantom_patient
from edmxl.data.readers import write_pairs
from edmxl.evaluation.replica_test import KINDS, ReplicaTest, plant

CAMUS = Path(__file__).resolve().parents[2]/'shared'/'camus'
LEVEL = .01


class Halves:
    "A training half and its test, and a half of other patients, with what the test says of them."
    def __init__(self, images, patients, training):
        self.images, self.patients = images[training], patients[training]
        self.new, self.new_patients = images[~training], patients[~training]
        self.test = ReplicaTest(self.images, self.images > 0, self.patients)
        self.fresh = self.test(self.new, self.new > 0)


@pytest.fixture(scope='module')
def phantoms():
    echoes = [e for i in range(64) for e in phantom_patient((i, 'train', 64, 0))]
    patients = np.array([e.row.patient for e in echoes])
    return Halves(np.stack([e.image for e in echoes]), patients, np.arange(len(echoes)) < 160)

@pytest.fixture(scope='module')
def camus(tmp_path_factory):
    "Training patients only, in two halves."
    if not CAMUS.is_dir():
        pytest.skip(f'no real echoes at {CAMUS}: CAMUS is not in the repository')
    ds = write_pairs(tmp_path_factory.mktemp('replicas')/'pairs', CAMUS/'png224', 64)
    which = ds.where('train')
    patients = np.array([ds.rows[i].patient for i in which])
    names = np.random.default_rng(0).permutation(np.unique(patients))
    return Halves(np.array(ds.arrays().images[which]), patients, np.isin(patients, names[:len(names)//2]))

@pytest.fixture(params=['phantoms', 'camus'])
def halves(request): return request.getfixturevalue(request.param)


def hidden(h, kind, n=40):
    "Copies of `n` training images among `n` images of new patients, shuffled: what the test says, and which are copies."
    rng = np.random.default_rng(5)
    which = rng.choice(len(h.images), n, replace=False)
    images = np.concatenate([plant(h.images[which], kind, rng), h.new[rng.choice(len(h.new), n, replace=False)]])
    order = rng.permutation(2*n)
    source = np.concatenate([which, np.full(n, -1)])[order]
    return h.test(images[order], images[order] > 0), source

@pytest.mark.parametrize('kind', KINDS)
def test_copies_are_found_among_new_images(halves, kind):
    j, source = hidden(halves, kind)
    copy = source >= 0
    found = j.p <= LEVEL
    assert found[copy].mean() >= .95
    assert found[~copy].sum() <= 2
    assert (halves.patients[j.near.index[copy, 0]] == halves.patients[source[copy]]).mean() >= .95

def test_new_patients_have_uniform_p_values(halves):
    "One image a patient, for images of one patient are not independent; and all images at the level itself."
    r, patients = halves.fresh.p, halves.new_patients
    one = [np.random.default_rng(s).permutation(len(r)) for s in range(20)]
    ks = [kstest(r[o[np.unique(patients[o], return_index=True)[1]]], 'uniform').pvalue for o in one]
    assert np.median(ks) > .05
    assert (r <= LEVEL).mean() <= .03 and .02 < (r <= .1).mean() < .2

def test_gain_and_flip_change_nothing(halves):
    x = halves.new[:40]
    again = [x[:, :, ::-1], np.where(x > 0, np.rint(.7*x+20), 0).astype(np.uint8)]
    for y in again:
        assert np.abs(halves.test(y, y > 0).r - halves.fresh.r[:40]).max() < .04

def test_a_blurred_generator_is_not_accused(halves):
    "Smooth images correlate more with everybody, and r must not take that for a copy."
    from scipy.ndimage import gaussian_filter
    x = halves.new[:60].astype(float)
    m = (x > 0).astype(float)
    smooth = gaussian_filter(x, (0, 1.2, 1.2))/np.maximum(gaussian_filter(m, (0, 1.2, 1.2)), .05)
    y = np.where(m > 0, smooth.clip(1, 255), 0).astype(np.uint8)
    assert (halves.test(y, y > 0).p <= LEVEL).sum() <= 3
