"The site as a reader meets it, in a real browser: five notebooks of it, built strictly."
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from browser import FLAGS, barriers

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))
FEW = 'tutorials/80_from_edmlx data/20_label_maps sampling/10_noise_levels sampling/12_steps runs/30_train_diffusion'
KINDS = ['index', 'tutorials/index', 'tutorials/from_edmlx', 'library', 'sampling/index', 'sampling/steps', 'data/label_maps', 'genindex',
         'runs/train_diffusion', 'command_line', 'changelog', 'benchmarks/index', 'benchmarks/cpu-2-cores-avx512-bf16', 'search']

def left(r):
    "Whether a failed request is one for the icon, which a page loads last and gives up when the test goes on to the next page."
    return r.failure=='net::ERR_ABORTED' and r.url.endswith('/favicon.svg')


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_): pass

@pytest.fixture(scope='module')
def site(tmp_path_factory):
    "Folder of the site, built as `make docs` does."
    out = tmp_path_factory.mktemp('site')/'few'
    env = os.environ | dict(PYTHONPATH=str(ROOT))
    p = subprocess.run([sys.executable, '-m', 'docs.site', '--out', out, '--only', FEW], cwd=ROOT, env=env, capture_output=True, text=True)
    assert p.returncode==0, p.stdout+p.stderr
    return out

@pytest.fixture(scope='module')
def address(site):
    server = ThreadingHTTPServer(('127.0.0.1', 0), partial(Quiet, directory=str(site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f'http://127.0.0.1:{server.server_port}'
    server.shutdown()

@pytest.fixture(scope='module')
def browser():
    path = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
    if not path: pytest.skip('no chromium on this machine (Debian: apt-get install chromium)')
    playwright = pytest.importorskip('playwright.sync_api', reason='playwright is not installed (pip install -e ".[dev]")')
    with playwright.sync_playwright() as p:
        b = p.chromium.launch(executable_path=path, args=FLAGS)
        yield b
        b.close()

@contextmanager
def tab(browser, width=1280, scheme='light'):
    "A page of a window of this width, and what went wrong in it."
    window = browser.new_context(viewport=dict(width=width, height=900), color_scheme=scheme)
    page,wrong = window.new_page(),[]
    page.on('console', lambda m: wrong.append(f'console: {m.text}') if m.type in ('error','warning') else None)
    page.on('pageerror', lambda e: wrong.append(f'error: {e}'))
    page.on('requestfailed', lambda r: wrong.append(f'failed: {r.url}, {r.failure}') if not left(r) else None)
    page.on('response', lambda r: wrong.append(f'{r.status}: {r.url}') if r.status>=400 else None)
    page.on('request', lambda r: wrong.append(f'another host: {r.url}') if not r.url.startswith(('http://127.0.0.1:', 'data:')) else None)
    try: yield page,wrong
    finally: window.close()

def pages(site): return sorted(str(p.relative_to(site)) for p in site.rglob('*.html') if '_static' not in p.parts)


def test_every_page_loads_quietly_and_alone(site, address, browser):
    with tab(browser) as (page,wrong):
        for name in pages(site):
            page.goto(f'{address}/{name}', wait_until='load')
            assert not wrong, f'{name}: {wrong}'
            assert page.eval_on_selector_all('img', 'es => es.every(e => e.complete && e.naturalWidth && e.alt.trim())'), name
    assert len(pages(site))>20

def test_search_finds_heun(address, browser):
    with tab(browser) as (page,wrong):
        page.goto(f'{address}/search.html?q=heun')
        page.wait_for_selector('ul.search li a')
        found = page.eval_on_selector_all('ul.search li a', 'es => es.map(e => e.href)')
        assert any('sampling/steps.html#edmxl.sampling.steps.heun_step' in u for u in found), found
        assert not wrong

@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_search_finds_heun_while_it_is_typed(address, browser, scheme):
    with tab(browser, scheme=scheme) as (page,wrong):
        page.goto(f'{address}/index.html')
        page.keyboard.press('Control+k')
        page.keyboard.type('heun', delay=30)
        page.wait_for_selector('dialog ul.search li p.context')
        assert not wrong and not barriers(page)

@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_no_barrier_is_serious(address, browser, scheme):
    with tab(browser, scheme=scheme) as (page,_):
        for name in KINDS:
            page.goto(f'{address}/{name}.html')
            assert page.evaluate('document.documentElement.dataset.theme')==scheme
            only = ['color-contrast'] if scheme=='dark' else None # nothing else differs
            assert not (bad := barriers(page, only)), f'{name}, {scheme}: {bad}'

def test_a_phone_need_not_scroll_sideways(site, address, browser):
    with tab(browser, width=390) as (page,wrong):
        for name in pages(site):
            page.goto(f'{address}/{name}')
            page.evaluate('document.querySelectorAll("details").forEach(d => d.open = true)')
            assert page.evaluate('document.documentElement.scrollWidth')<=390, name
            assert not wrong, f'{name}: {wrong}'

def test_no_barrier_is_serious_on_a_phone(address, browser):
    "A wide table scrolls in a frame of its own, which a keyboard must reach."
    with tab(browser, width=390) as (page,wrong):
        for name in ('tutorials/index', 'tutorials/from_edmlx'):
            page.goto(f'{address}/{name}.html')
            assert not (bad := barriers(page)), f'{name}: {bad}'
        assert not wrong

def test_figures_and_equations_are_there(site):
    text = (site/'data'/'label_maps.html').read_text()
    assert '<mtable' in text and re.search(r'<img alt="[^"]{20,}" class="figure', text)
    assert 'parameter' in text and 'id="edmxl.data.label_maps.sector_labels"' in text
    assert 'edmxl weights import' in (site/'command_line.html').read_text()


def test_the_build_finds_what_is_broken(tmp_path):
    from docs.books import Shelf
    from docs.check import faults
    from docs.markdown import Broken, Writer
    writer,here = Writer(Shelf([]), {ROOT/'CHANGELOG.md': 'changelog'}, tmp_path),ROOT/'nbs'/'data'/'x.ipynb'
    assert writer.markdown('[a](../../CHANGELOG.md#b)', here)=='[a](/changelog.md#b)'
    assert writer.markdown('[a](../../LICENSE)', here).endswith('/blob/main/LICENSE)')
    assert writer.markdown('    edmxl [a](b)\n', here).startswith('```bash')
    for text in ('[a](nowhere.ipynb)', '[a\nb](nowhere.ipynb)', '![](../images/demo.png)', '`edmxl.data.files.nothing`', '[a](../../../x)'):
        with pytest.raises(Broken): writer.markdown(text, here)
    (tmp_path/'a.html').write_text('<p id="x"><a href="a.html#x"></a><a href="a.html#y"></a><a href="b.html"></a><img src="https://c/d.png">')
    assert [f.partition(': ')[2] for f in faults(tmp_path)]==['loads https://c/d.png from another host',
        'picture https://c/d.png has no alternative text', 'links to a.html#y: no such anchor', 'links to b.html, which is not there']

def test_every_notebook_links_to_what_is_there_and_every_equation_is_drawn(tmp_path):
    from docs.books import Shelf, all_books
    from docs.extension import mathml
    from docs.markdown import Writer, parts
    books = all_books()
    writer = Writer(Shelf([]), {b.path: b.doc for b in books}, tmp_path)
    for b in books:
        for cell in b.cells:
            if cell['cell_type']!='markdown': continue
            text = ''.join(cell['source'])
            writer.markdown(text, b.path)
            prose = re.sub(r'`[^`]*`', '', '\n'.join('\n'.join(ls) for kind,ls in parts(text) if kind=='prose'))
            for m in re.finditer(r'\$\$(.+?)\$\$|\$([^$\n]+)\$', prose, re.S): mathml(m[1] or m[2], bool(m[1]))

def test_a_figure_is_described_by_its_own_words_or_those_around_it():
    import matplotlib.pyplot as plt
    from docs.figures import words
    from docs.pages import alt_text
    fig,(a,b) = plt.subplots(1, 2)
    a.plot([1], label='heun')
    a.legend()
    a.set(xlabel='NFE', ylabel='mean\nerror', title='no noise')
    b.imshow([[0]])
    b.set_title('an echo')
    plt.close(fig)
    assert words(fig)=='1 picture. no noise; an echo. mean error against NFE. Legend: heun'
    assert alt_text('The table', 'Two kinds.', words(fig))=='The table. 1 picture. no noise; an echo. mean error against NFE. Legend: heun.'
    assert alt_text('The table', 'Two kinds of **proof**, see [this](x.ipynb). More.', '')=='The table. Two kinds of proof, see this.'
    assert alt_text('Alone', '', '')=='Alone.'

def test_outputs_are_kept_with_what_decides_them(tmp_path, monkeypatch):
    from docs import notebooks
    cell = lambda source: dict(cell_type='code', id='a'*8, metadata={}, execution_count=None, outputs=[], source=source)
    nb = dict(cells=[cell('print(6*7)'), cell('#| eval: false\n1/0')], metadata={}, nbformat=4, nbformat_minor=5)
    path = tmp_path/'nbs'/'a.ipynb'
    path.parent.mkdir()
    path.write_text(json.dumps(nb))
    monkeypatch.setattr(notebooks, 'NBS', path.parent)
    monkeypatch.setattr(notebooks, 'KEPT', tmp_path/'kept')
    here = os.getcwd()
    assert notebooks.execute(path) and os.getcwd()==here
    first = notebooks.executed(path)
    assert first['cells'][0]['outputs'][0]['text']==['42\n'] and not first['cells'][1]['outputs']
    assert json.loads(path.read_text())==nb                                   # the notebook itself stays clean
    monkeypatch.setattr(notebooks, 'execute', lambda _: pytest.fail('executed twice'))
    assert notebooks.executed(path)==first
    path.write_text(json.dumps(nb)+'\n')                                      # changed: the copy no longer counts
    assert notebooks.executed(path, draft=True)==nb

@pytest.mark.parametrize('name', ['nbs/tutorials/camus_mixing.json', 'nbs/tutorials/sweep_solvers.yaml',
                                  'trained_models/demo/edm.safetensors', 'edmxl/data/phantom.py'])
def test_outputs_depend_on_what_notebooks_read(tmp_path, monkeypatch, name):
    from docs import notebooks
    monkeypatch.setattr(notebooks, 'ROOT', tmp_path)
    (path := tmp_path/name).parent.mkdir(parents=True)
    path.write_text('1')
    before = notebooks.shared.__wrapped__()
    path.write_text('2')
    assert notebooks.shared.__wrapped__()!=before
