"A room imports only from rooms above it; notebooks of runs and tutorials are never exported."
import ast
import json
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ['data', 'models', 'sampling', 'training', 'downstream', 'evaluation', 'workbench']
# all that models, sampling and training need besides the standard library
LIGHT = {'torch', 'numpy', 'safetensors', 'edmxl'}
MODULES = sorted(p for r in ROOMS for p in (ROOT/'edmxl'/r).glob('*.py'))
LIGHT_MODULES = [p for p in MODULES if p.parent.name in ('models','sampling','training')]

def imports(path, module_level=False):
    "Absolute names of all modules that a file imports."
    package = path.relative_to(ROOT).with_suffix('').parts
    tree = ast.parse(path.read_text())
    for node in tree.body if module_level else ast.walk(tree):
        if isinstance(node, ast.Import): yield from (a.name for a in node.names)
        if isinstance(node, ast.ImportFrom):
            base = '.'.join(package[:-node.level]) if node.level else ''
            yield '.'.join(p for p in (base, node.module) if p)

@pytest.mark.parametrize('path', MODULES, ids=lambda p: f'{p.parent.name}/{p.stem}')
def test_one_way(path):
    room = ROOMS.index(path.parent.name)
    for name in imports(path):
        parts = name.split('.')
        if parts[0]=='edmxl' and len(parts)>1: assert ROOMS.index(parts[1])<=room, f'{path.name} imports {name}'

@pytest.mark.parametrize('path', LIGHT_MODULES, ids=lambda p: f'{p.parent.name}/{p.stem}')
def test_light_rooms(path):
    import sys
    for name in imports(path):
        top = name.split('.')[0]
        assert top in LIGHT or top in sys.stdlib_module_names, f'{path.name} imports {name}'

@pytest.mark.parametrize('path', sorted((ROOT/'nbs').rglob('*.ipynb')), ids=lambda p: f'{p.parent.name}/{p.stem}')
def test_exported_or_not(path):
    if '.ipynb_checkpoints' in path.parts: return
    sources = [''.join(c['source']) for c in json.loads(path.read_text())['cells'] if c['cell_type']=='code']
    exports = any(s.lstrip().startswith('#| default_exp') for s in sources)
    assert exports==(path.parent.name in ROOMS)
