"The parameters cell of every run notebook mirrors the configuration that owns the defaults."
import ast
import json

import pytest
from fastcore.docments import docments

from edmxl.workbench.configs import CONFIGS
from edmxl.workbench.runs import run_notebook


def code_cells(name):
    cells = json.loads(run_notebook(name).read_text())['cells']
    return [(''.join(c['source']), c['metadata'].get('tags', [])) for c in cells if c['cell_type']=='code']

def parameters(name):
    "(name, value, trailing comment) of each line of the cell tagged `parameters`."
    (source,) = [s for s,tags in code_cells(name) if 'parameters' in tags]
    for line,node in zip(source.splitlines(), ast.parse(source).body, strict=True):
        assert isinstance(node, ast.AnnAssign), f'{line}: expected name: type = literal'
        yield node.target.id, ast.literal_eval(node.value), line.split('  # ')[-1].strip()

@pytest.mark.parametrize('name', CONFIGS)
def test_cell_equals_configuration(name):
    cls = CONFIGS[name]
    notes,found = docments(cls),list(parameters(name))
    plain = lambda v: list(v) if isinstance(v, tuple) else v
    assert found==[(k, plain(f.default), notes[k]) for k,f in cls.__dataclass_fields__.items()]

@pytest.mark.parametrize('name', CONFIGS)
def test_papermill_sees_every_parameter(name):
    import papermill
    found = papermill.inspect_notebook(str(run_notebook(name)))
    assert list(found)==list(CONFIGS[name].__dataclass_fields__)

@pytest.mark.parametrize('name', CONFIGS)
def test_no_later_cell_changes_a_parameter(name):
    "Or the recorded configuration would not be the one that was asked for."
    fields = set(CONFIGS[name].__dataclass_fields__)
    for source,tags in code_cells(name):
        if 'parameters' in tags: continue
        for node in ast.parse(source).body:
            names = set()
            if isinstance(node, (ast.Assign,ast.For,ast.With)):
                names = {n.id for n in ast.walk(node) if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store)}
            if isinstance(node, (ast.Import,ast.ImportFrom)):
                names = {(a.asname or a.name).split('.')[0] for a in node.names}
            assert not names & fields, f'{name}: a cell assigns {names & fields}'

def test_order_of_the_notebooks():
    "Folders list them in the order of `CONFIGS`: two digits each, no two alike."
    numbers = [run_notebook(n).name.split('_')[0] for n in CONFIGS]
    assert numbers==sorted(set(numbers)) and all(len(n)==2 for n in numbers)
