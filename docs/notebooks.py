"""Execute notebooks as nbdev's tests do, and keep what they showed in `.cache/notebooks`, so that the site need not do it again.
One notebook by hand: python -m docs.notebooks nbs/sampling/20_solvers.ipynb"""
from base64 import b64decode
from configparser import ConfigParser
from contextlib import contextmanager
from functools import cache
from importlib.metadata import version
from pathlib import Path
from unittest.mock import patch
import hashlib, json, os, sys

from docs.figures import digest, noticed

ROOT = Path(__file__).resolve().parents[1]
NBS = ROOT/'nbs'
KEPT = ROOT/'.cache'/'notebooks'
SHOWN = ('torch', 'numpy', 'matplotlib', 'pandas', 'nbdev') # what an output may depend on besides the repository


def hidden(path:Path)->bool: return any(part[0] in '._' for part in path.relative_to(ROOT).parts)

def notebooks()->list[Path]:
    "Every notebook that runs from top to bottom by itself: all but `nbs/runs`, which a command fills in."
    return sorted(p for p in NBS.rglob('*.ipynb') if not hidden(p) and p.parent.name!='runs')

@cache
def shared()->bytes:
    "Fingerprint of what every notebook may use: the package, the run notebooks, stored numbers, models that ship, benchmarks, libraries."
    looks = ('edmxl/**/*.py', 'nbs/runs/*.ipynb', 'nbs/**/*.yaml', 'nbs/**/*.json', 'trained_models/demo/*', 'bench/*.py',
             'docs/notebooks.py', 'docs/figures.py')
    files = [p for look in looks for p in ROOT.glob(look)]
    h = hashlib.sha256(' '.join([sys.version, *(f'{p} {version(p)}' for p in SHOWN)]).encode())
    for p in sorted(files): h.update(str(p.relative_to(ROOT)).encode()+p.read_bytes())
    return h.digest()

def key(path:Path)->str:
    "What decides the outputs of a notebook."
    return hashlib.sha256(path.read_bytes()+shared()).hexdigest()


def kept(path:Path)->Path: return KEPT/path.relative_to(NBS)

def keep(path:Path, outputs:dict[int,list]):
    "Store a copy of a notebook with what its cells showed, whole or not at all."
    nb = json.loads(path.read_text(encoding='utf-8'))
    for i,c in enumerate(nb['cells']):
        if c['cell_type']=='code': c['outputs'] = outputs.get(i, [])
    nb['metadata']['key'] = key(path)
    to = kept(path)
    to.parent.mkdir(parents=True, exist_ok=True)
    part = to.with_suffix(f'.{os.getpid()}.part')
    part.write_text(json.dumps(nb, indent=1), encoding='utf-8')
    part.replace(to)

@contextmanager
def as_in_tests():
    "Environment, module path and folder as they were before, afterwards."
    cwd,path = Path.cwd(),sys.path[:]
    with patch.dict(os.environ, MPLBACKEND='agg', IN_TEST='1'):
        os.chdir(ROOT)
        try: yield
        finally: os.chdir(cwd); sys.path[:] = path

def execute(
    path:Path, # notebook
)->bool:       # whether it ran to its end; then a copy with its outputs is kept
    "Run a notebook by nbdev's own rules for tests: its flags, `eval: false`, a shell without a server."
    from execnb.shell import CaptureShell
    from nbdev.test import test_nb
    seen = {}
    class Remembering(CaptureShell):
        def run_all(self, nb, *args, **kw):
            super().run_all(nb, *args, **kw)
            shown = [c for c in nb.cells if c.cell_type=='code' and c.get('outputs')]
            seen.update({c.idx_: [told(plain(o), figures) for o in c.outputs] for c in shown})
    ini = ConfigParser(delimiters=['='])
    ini.read(ROOT/'settings.ini', encoding='utf-8')
    with as_in_tests(), noticed() as figures, patch('nbdev.test.CaptureShell', Remembering):
        ok,_ = test_nb(path, skip_flags=ini['DEFAULT']['tst_flags'].split(), basepath=ROOT)
    if ok: keep(path, seen)
    return ok

def plain(x):
    "Dictionaries and lists of nbdev's own kinds as JSON knows them."
    if isinstance(x, dict): return {k: plain(v) for k,v in x.items()}
    return [plain(v) for v in x] if isinstance(x, (list,tuple)) else x

def told(output:dict, figures:dict[str,str])->dict:
    "An output with the words of the figure that it shows."
    png = output.get('data', {}).get('image/png')
    said = figures.get(digest(b64decode(png)), '') if png else ''
    return output | dict(metadata=(output.get('metadata') or {}) | dict(words=said)) if said else output

def executed(
    path:Path,       # notebook
    draft:bool=False # take what there is, and execute nothing
)->dict:             # its JSON
    "A notebook with its outputs: the kept copy if nothing it depends on has changed since, else a fresh one."
    there = kept(path) if kept(path).exists() else path
    nb = json.loads(there.read_text(encoding='utf-8'))
    if nb['metadata'].get('key')==key(path): return nb
    if draft: return json.loads(path.read_text(encoding='utf-8'))
    print(f'executing {path.relative_to(ROOT)}', flush=True)
    if not execute(path): sys.exit(f'{path.relative_to(ROOT)} failed: see above. `make test` would fail, too.')
    return json.loads(kept(path).read_text(encoding='utf-8'))


if __name__=='__main__':
    for word in sys.argv[1:]: executed(Path(word).resolve())
