"Every tutorial is a plain Python script, too, and ends with something to try next."
import ast
import json
import re
import subprocess
import sys

import pytest
from conftest import ROOT, environment

TUTORIALS = sorted((ROOT/'nbs'/'tutorials').glob('*.ipynb'))
def each(paths): return pytest.mark.parametrize('path', paths, ids=lambda p: p.stem)

def cells(path): return [(c['cell_type'], ''.join(c['source'])) for c in json.loads(path.read_text(encoding='utf-8'))['cells']]

def script(path): return '\n\n'.join(s for kind,s in cells(path) if kind=='code' and not re.search(r'^#\|\s*eval:\s*false', s, re.M))

@each(TUTORIALS)
def test_it_is_plain_python(path):
    names = {n.id for n in ast.walk(ast.parse(script(path))) if isinstance(n, ast.Name)}
    assert not names & {'display','get_ipython','In','Out'}

@each(TUTORIALS)
def test_it_runs_as_a_plain_script(path, tmp_path):
    """Copied into a file it needs no IPython (no magic, no `display`), no guard against processes that import it again, and no folder
    but the repository's, if it reads files there; it writes nothing where it is started."""
    code = script(path)
    (tmp_path/'tutorial.py').write_text(code, encoding='utf-8')
    (here := tmp_path/'here').mkdir()
    (tmp_path/'tmp').mkdir()
    env = environment() | dict(OMP_NUM_THREADS='1', TMPDIR=str(tmp_path/'tmp'))
    p = subprocess.run([sys.executable, tmp_path/'tutorial.py'], cwd=ROOT if 'settings.ini' in code else here, env=env,
                       capture_output=True, text=True)
    assert p.returncode==0, p.stderr[-3000:]
    assert not list(here.iterdir())

@each(TUTORIALS)
def test_it_ends_with_what_to_try_next(path):
    kind,text = cells(path)[-1]
    assert kind=='markdown' and (found := re.search(r'^## Next\n(.+)', text, re.M | re.S))
    links = re.findall(r'\]\(([^)]+)\)', found[1])
    assert links
    for to in links: assert to.startswith('https://') or (path.parent/to).is_file(), to
