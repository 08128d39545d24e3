"""What the repository promises of itself."""
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]


def tracked():
    if not (ROOT/'.git').exists(): pytest.skip('not a git checkout')
    p = subprocess.run(['git', 'ls-files'], cwd=ROOT, capture_output=True, text=True, check=True)
    return p.stdout.split('\n')[:-1]


def test_readme_is_written_from_the_index():
    assert subprocess.run([sys.executable, 'docs/readme.py', '--check'], cwd=ROOT).returncode == 0, 'run `make sync`'


def test_readme_names_only_files_and_targets_that_exist():
    text = (ROOT/'README.md').read_text(encoding='utf-8')
    for path in re.findall(r'nbs/[\w/-]+\.(?:ipynb|png|webp)', text): assert (ROOT/path).is_file(), path
    targets = set(re.findall(r'^(\w+):', (ROOT/'Makefile').read_text(), re.M))
    for target in re.findall(r'\bmake (\w+)', text): assert target in targets, target


def test_what_it_said_on_camus_is_what_the_record_says():
    text = (ROOT/'README.md').read_text(encoding='utf-8')
    r = json.loads((ROOT/'nbs'/'tutorials'/'camus_study.json').read_text())
    rows = [m[1].split(' | ') for m in re.finditer(r'^\| (?:736 real echoes|736 synthetic echoes alone|both) \| (.*) \|$', text, re.M)]
    ends = lambda ci: ' [{:.3f}, {:.3f}]'.format(*ci)
    assert rows==[[f'{s["dice"]["lv_endo"]:.3f}', f'{s["dice"]["lv_epi"]:.3f}', f'{s["dice"]["la"]:.3f}',
                   f'{s["dice"]["mean"]:.3f}{ends(s["dice_ci"]["mean"])}', f'{s["view_accuracy"]:.3f}{ends(s["view_accuracy_ci"])}']
                  for s in r['results'].values()]
    real,synthetic = (r['results'][k]['dice']['mean'] for k in ('real','synthetic'))
    assert f'{synthetic/real:.1%}'.replace('%', ' %') in text
    (both,) = [c for c in r['comparisons'] if (c['a'], c['score'], c['structure'])==('real+synthetic', 'dice', 'mean')]
    assert 'the mean by {:.3f} [{:.3f}, {:.3f}]'.format(-both['difference'], -both['ci'][1], -both['ci'][0]) in text
    low = [c for c in r['comparisons'] if c['a']=='real+synthetic' and c['score']=='dice']
    assert len(low)==4 and all(c['p_holm']<.05 and c['ci'][1]<0 for c in low)


def test_what_it_says_of_the_mixing_curve_is_what_the_record_says():
    text = (ROOT/'README.md').read_text(encoding='utf-8')
    m = json.loads((ROOT/'nbs'/'tutorials'/'camus_mixing.json').read_text())['metrics']
    gain = {g['n']: g for g in m['gains'] if g['score']=='dice_mean'}
    real,own = ({p['n']: p['dice']['mean'] for p in m['points'] if p['arm']==a} for a in ('real','own'))
    def said(n):
        lo,hi = sorted(map(abs, gain[n]['ci']))
        return f'{abs(gain[n]["difference"]):.3f} [{lo:.3f}, {hi:.3f}]'
    assert f'of 10 patients rose from {real[10]:.3f} to {own[10]:.3f}, by {said(10)}' in text
    assert f'with 100 it fell by {said(100)}' in text
    assert {n: (g['p_holm']<.05)*(1 if g['difference']>0 else -1) for n,g in gain.items()}=={10: 1, 25: 0, 50: 0, 100: -1, 204: 0}


def test_no_patient_data_is_tracked():
    assert not [f for f in tracked() if re.search(r'patient\d{4}', f)]


def test_nothing_is_large():
    sizes = {f: (ROOT/f).stat().st_size for f in tracked() if (ROOT/f).exists()}
    assert sum(sizes.values()) < 30e6
    assert not {f: s for f, s in sizes.items() if f.endswith('.ipynb') and s > 0.5e6}
