"""What the repository promises of itself."""
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


def test_no_patient_data_is_tracked():
    assert not [f for f in tracked() if re.search(r'patient\d{4}', f)]


def test_nothing_is_large():
    sizes = {f: (ROOT/f).stat().st_size for f in tracked() if (ROOT/f).exists()}
    assert sum(sizes.values()) < 30e6
    assert not {f: s for f, s in sizes.items() if f.endswith('.ipynb') and s > 0.5e6}
