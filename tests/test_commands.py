"""Every command that README.md and the tutorials show could be typed: its words, parameters and values are read by the code that would
read them, up to the point where work begins. The files that it names need not be there."""
import ast
import io
import json
import re
import shlex
import sys
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from conftest import ROOT
from torch.distributed.run import parse_args

from edmxl.data.configs import LOCATIONS
from edmxl.data.files import BadInput
from edmxl.downstream import jobs as judges
from edmxl.models.presets import echo_model, preset
from edmxl.sampling.generate import Plan
from edmxl.training import jobs
from edmxl.training.worker import parse
from edmxl.workbench import command_line
from edmxl.workbench.configs import CONFIGS, GenerateConfig, check_params
from edmxl.workbench.study import stages
from edmxl.workbench.sweep import read_sweep

sys.path.insert(0, str(ROOT))
PAGES = [ROOT/'README.md', ROOT/'nbs'/'index.ipynb', *sorted((ROOT/'nbs'/'tutorials').glob('*.ipynb'))]
TYPED = re.compile(r'(\.venv/bin/)?edmxl( |$)|(torchrun|python3?) .*-m edmxl[\w.]* ')

def in_words(text):
    "Lines of the blocks of a markdown text, and what stands in backticks between them; an ellipsis at the end stands for more options."
    from docs.markdown import parts
    for kind,lines in parts(re.sub(r'\\\n\s*', '', text)):
        found = lines if kind!='prose' else re.findall(r'`([^`]+)`', '\n'.join(lines))
        yield from (re.sub(r'( [^-\s]\S*) \.\.\.$', r'\1', re.sub(r'\s{2,}#.*', '', l.strip())) for l in found)

def in_code(source, names):
    "Texts that Python code hands to a function, and within them those that have a name."
    def text(n):
        if isinstance(n, ast.JoinedStr): return ''.join(map(text, n.values))
        if isinstance(n, ast.FormattedValue): return names.get(getattr(n.value, 'id', ''), '...')
        return str(n.value) if isinstance(n, ast.Constant) else ''
    yield from (text(a) for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Call) for a in n.args)

def named(source):
    "Texts to which Python code gives a name."
    nodes = [n for n in ast.walk(ast.parse(source)) if isinstance(n, ast.Assign) and isinstance(n.value, ast.Constant)]
    return {t.id: str(n.value.value) for n in nodes for t in n.targets if isinstance(t, ast.Name)}

def commands(page):
    "The cell of each command, and what it says."
    text = page.read_text(encoding='utf-8')
    cells = json.loads(text)['cells'] if page.suffix=='.ipynb' else [dict(id='', cell_type='markdown', source=text)]
    said = [(c['id'], c['cell_type']=='markdown', re.sub('^[%!]', '#', ''.join(c['source']), flags=re.M)) for c in cells]
    names = {k: v for _,prose,s in said if not prose for k,v in named(s).items()}
    return [(i, l) for i,prose,s in said for l in (in_words(s) if prose else in_code(s, names)) if TYPED.match(l)]

ALL = {p: commands(p) for p in PAGES}
DRAWN = {m[1] for found in ALL.values() for _,line in found if (m := re.search(r'edmxl generate .*--out (\S+)', line))}


def apart(out, *read):
    "Nothing may write over what it reads."
    lost = [p for p in read if p and p!='...' and Path(out) in (Path(p), *Path(p).parents)]
    if lost: raise BadInput(f'{out} is written over {lost[0]}')

def sound(cfg):
    "What a run would refuse as soon as it begins."
    read = [getattr(cfg, k, None) or () for k in LOCATIONS if k!='out']
    apart(cfg.out, *(p for v in read for p in ([v] if isinstance(v, str) else v)))
    latent = hasattr(cfg, 'preset') and preset(cfg.preset).autoencoder
    if isinstance(cfg, jobs.TrainDiffusionConfig) and latent and not cfg.autoencoder: echo_model(preset(cfg.preset))
    if isinstance(cfg, jobs.TrainAutoencoderConfig) and not latent: next(jobs.autoencoder_job(cfg, None))
    if isinstance(cfg, GenerateConfig): drawing(cfg.model, cfg.labels, cfg.out, None, cfg.steps, cfg.solver)

def drawing(model, labels, out, seeds=None, steps=None, solver=None, device='cpu', precision='fp32', w=1., at=None, batch=None):
    apart(out, model, labels)
    Plan(model, labels, out, tuple(seeds or (0,)), steps or 18, solver or 'heun', device, precision, batch or 8, 1, '', '', w, at)

def studying(s):
    apart(s.out, s.data)
    for cfg in stages(s).values(): sound(cfg)

def exporting(out, data, *_):
    apart(out, *data)
    if all(d in DRAWN or d.endswith('generate/dataset') for d in data): raise BadInput('only synthetic images: nothing could judge')

READERS = ('data.readers.write_camus', 'data.readers.write_pairs', 'data.edmlx.write_edmlx', 'workbench.label_clips.write_clips')
WORK = {w: lambda out, src, *_, **kw: apart(out, src) for w in READERS} | { # where work begins, and what can be said before
    'data.phantom.write_phantom': lambda *_: None,
    'data.nnunet.write_nnunet': exporting,
    'sampling.generate.make_plan': drawing,
    'workbench.predict.predict_folder': lambda model, images, out, *_: apart(out, model, images),
    'workbench.runs.run': lambda name, params: sound(CONFIGS[name](**check_params(name, params))),
    'workbench.study.run_study': studying,
    'workbench.sweep.read_sweep': lambda file, out: (ROOT/file).is_file() and read_sweep(ROOT/file, out)}

class Begun(Exception): pass

@pytest.fixture(autouse=True)
def nothing_is_done(monkeypatch, tmp_path):
    def begins(check):
        def work(*args, **kw): check(*args, **kw); raise Begun
        return work
    monkeypatch.chdir(tmp_path)
    for place,check in WORK.items(): monkeypatch.setattr(f'edmxl.{place}', begins(check))

def edmxl(words):
    if len(words)==1 and words[0][0]!='-': words = [*words, '--help'] # the name of a command, or all of it
    a,more = command_line.parser().parse_known_args(words)
    if more and a.do is not command_line.bench: raise BadInput(f'unrecognized arguments: {" ".join(more)}')
    if words and words[0] in ('prepare','export','run','study','sweep','generate','predict'): a.do(a) # of others nothing more can be said

def obey(line):
    "Do as a command says until its work begins."
    program,*words = shlex.split(line)
    if program=='torchrun': a = parse_args(words); module,words = a.training_script,a.training_script_args
    else: module,words = ('edmxl', words) if Path(program).name=='edmxl' else (words[1], words[2:])
    if module=='edmxl': return edmxl(words)
    sound(parse({'edmxl.training': jobs.JOBS, 'edmxl.downstream': judges.JOBS}[module], words))

def fault(line):
    "What is wrong with a command; empty if nothing is."
    with redirect_stderr(io.StringIO()) as said, redirect_stdout(io.StringIO()):
        try: obey(line)
        except Begun: pass
        except SystemExit as e: return said.getvalue().strip().rpartition('\n')[2] if e.code else ''
        except BadInput as e: return str(e)
    return ''


@pytest.mark.parametrize('page', PAGES, ids=lambda p: p.name)
def test_every_command_of_a_page_can_be_typed(page):
    wrong = [f'{where}: {line}\n    {why}' for where,line in ALL[page] if (why := fault(line))]
    if wrong: pytest.fail('\n'.join([str(page.relative_to(ROOT)), *wrong]), pytrace=False)

def test_commands_are_found():
    assert len(ALL[PAGES[0]])>=25 and {where for where,_ in ALL[ROOT/'nbs/tutorials/70_scaling_out.ipynb']}>={'70f00007','70f00021'}
    text = 'Type `edmxl a`:\n\n    edmxl b \\\n        --c ...  # d\n\n| x | `torchrun -m edmxl.training e ...` |'
    assert list(filter(TYPED.match, in_words(text)))==['edmxl a', 'edmxl b --c ...', 'torchrun -m edmxl.training e']
    assert list(in_code("shell(f'edmxl run {x} {y}')", named("x = '-p a b'")))==['edmxl run -p a b ...']

@pytest.mark.parametrize('line', ['edmxl nothing', 'edmxl study --nothing 1', 'edmxl run nothing', 'edmxl run prepare -p nothing 1',
    'edmxl run prepare -p size wide', 'edmxl study -p generate.nothing 1', 'edmxl study -p generate.out x', 'edmxl study --preset nothing',
    'edmxl study --data out/a -o out/a', 'edmxl generate --model M --labels out/a --out out/a', 'edmxl prepare camus --out x',
    'edmxl prepare dicom --src x --out y', 'edmxl generate --model M --labels L --out x --solver nothing', 'edmxl models --x',
    'edmxl prepare pairs --src x --out x', 'edmxl export nnunet --data out/a/generate/dataset --out x',
    'edmxl run train_diffusion -p preset edm-l64', 'torchrun --nproc-per-node 2 -m edmxl.training train_diffusion -p preset edm-l64',
    'python -m edmxl.downstream train_diffusion', 'edmxl run train_autoencoder -p preset edm',
    'torchrun -m edmxl.training train_diffusion -p steps 0', 'torchrun --x -m edmxl study'])
def test_a_wrong_command_is_found(line): assert fault(line)
