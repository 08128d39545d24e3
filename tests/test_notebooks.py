"Every notebook outside nbs/runs runs from top to bottom and passes its own tests (use -n 2 for two processes)."
import os
from configparser import ConfigParser
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
def hidden(path): return any(part=='runs' or part[0] in '._' for part in path.relative_to(ROOT).parts)
NOTEBOOKS = sorted(p for p in (ROOT/'nbs').rglob('*.ipynb') if not hidden(p))

@pytest.mark.parametrize('path', NOTEBOOKS, ids=lambda p: str(p.relative_to(ROOT/'nbs').with_suffix('')))
def test_notebook(path, monkeypatch):
    from nbdev.test import test_nb
    ini = ConfigParser(delimiters=['='])
    ini.read(ROOT/'settings.ini')
    monkeypatch.setenv('MPLBACKEND', 'agg')
    monkeypatch.setenv('IN_TEST', '1')
    monkeypatch.chdir(ROOT)
    ok,_ = test_nb(path, skip_flags=ini['DEFAULT']['tst_flags'].split(), basepath=ROOT)
    os.chdir(ROOT)
    assert ok, f'{path.relative_to(ROOT)} failed; open it, or see the captured output'
