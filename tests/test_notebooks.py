"Every notebook outside nbs/runs runs from top to bottom and passes its own tests (use -n 2 for two processes)."
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
from docs.notebooks import execute, notebooks

@pytest.mark.parametrize('path', notebooks(), ids=lambda p: str(p.relative_to(ROOT/'nbs').with_suffix('')))
def test_notebook(path): # what its cells show is kept for the site
    assert execute(path), f'{path.relative_to(ROOT)} failed; open it, or see the captured output'
