"A real browser on a real JupyterLab, for tests of widgets; a test module imports the fixture `lab`."
import json
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
         '--disable-component-update', '--disable-sync']
OVERRIDES = {'@jupyterlab/apputils-extension:notification': dict(fetchNews='false', checkForUpdates=False)}
READY = """() => { const s = window.jupyterapp?.shell?.currentWidget?.sessionContext;
                   return Boolean(s && s.isReady && s.session?.kernel?.status === 'idle') }"""

def barriers(page, only=None, within=None):
    "What axe-core calls serious or critical, in a page or within a selector; folded sources are opened, so that their colours count."
    page.evaluate('document.querySelectorAll("details").forEach(d => d.open = true)')
    page.add_script_tag(path=ROOT/'tests'/'static'/'axe.min.js')
    options = dict(resultTypes=['violations']) | (dict(runOnly=only) if only else {})
    js = '([where, options]) => axe.run(where ?? document, options).then(r => r.violations)'
    return [(v['id'], [n['html'][:200] for n in v['nodes'][:3]]) for v in page.evaluate(js, [within, options])
            if v['impact'] in ('serious','critical')]

# anywidget 0.11 waits two seconds for a widget's script, which a busy machine takes longer to load. The widget is drawn all the
# same; should it be deaf to its kernel from then on, the tests that wait for what it shows fail.
SLOW = '[anywidget] Failed to initialize model.'

def heard(page):
    "The page; `wrong` of it collects what its console calls an error, from now on."
    page.wrong = []
    page.on('console', lambda m: page.wrong.append(f'{m.text} {m.location["url"]}') if m.type=='error' else None)
    page.on('pageerror', lambda e: page.wrong.append(str(e)) if str(e)!=SLOW else None)
    return page

def shown_bytes(page, selector):
    "Bytes of a picture that a page shows."
    js = "async c => Array.from(new Uint8Array(await (await fetch(document.querySelector(c).src)).arrayBuffer()))"
    return bytes(page.evaluate(js, selector))

def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]

def write_notebook(path, *cells):
    "A notebook of code cells."
    plain = dict(cell_type='code', metadata={}, outputs=[], execution_count=None)
    code = [plain | dict(id=f'cell{i}', source=text) for i,text in enumerate(cells)]
    kernel = dict(kernelspec=dict(name='python3', display_name='python3', language='python'))
    path.write_text(json.dumps(dict(cells=code, metadata=kernel, nbformat=4, nbformat_minor=5)))

class Lab:
    "A running JupyterLab and a browser; `open` shows a notebook of its folder with all cells run, and hears its errors."
    def __init__(self, url, token, folder, browser): self.url,self.token,self.folder,self.browser = url,token,folder,browser

    @contextmanager
    def open(self, name, width=1500, height=1900):
        page = heard(self.browser.new_page(viewport=dict(width=width, height=height), permissions=['clipboard-read','clipboard-write']))
        page.set_default_timeout(60_000)
        try:
            page.goto(f'{self.url}/lab/tree/{name}?token={self.token}&reset')
            page.wait_for_function(READY, timeout=120_000)
            page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
            yield page
        finally: page.close()

@contextmanager
def jupyterlab(folder):
    "JupyterLab with a home of its own, as `(url, token)`."
    home,port,token = folder/'home',free_port(),secrets.token_hex(8)
    share = home/'share'
    (share/'lab'/'settings').mkdir(parents=True)
    (share/'lab'/'settings'/'overrides.json').write_text(json.dumps(OVERRIDES))
    env = os.environ | dict(HOME=str(home), PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1', MPLBACKEND='agg')
    for name in ('JUPYTER_CONFIG', 'JUPYTER_DATA', 'JUPYTER_RUNTIME', 'JUPYTERLAB_SETTINGS', 'JUPYTERLAB_WORKSPACES'):
        env[f'{name}_DIR'] = str(home/name.lower())
    env['IPYTHONDIR'] = str(home/'ipython')
    words = [sys.executable, '-m', 'jupyter', 'lab', '--no-browser', '--allow-root', f'--ServerApp.port={port}', '--ServerApp.ip=127.0.0.1',
             f'--IdentityProvider.token={token}', f'--ServerApp.root_dir={folder}', '--LabApp.expose_app_in_browser=True',
             f'--LabApp.app_settings_dir={share/"lab"/"settings"}', '--ServerApp.port_retries=0']
    with open(folder/'lab.log', 'w') as log:
        p = subprocess.Popen(words, env=env, stdout=log, stderr=log, cwd=folder)
        try:
            url,end = f'http://127.0.0.1:{port}',time.monotonic()+120
            while True:
                try: urllib.request.urlopen(f'{url}/api/status?token={token}', timeout=5).close(); break
                except OSError:
                    assert p.poll() is None and time.monotonic()<end, (folder/'lab.log').read_text()[-3000:]
                    time.sleep(.2)
            yield url,token
        finally:
            p.terminate()
            try: p.wait(20)
            except subprocess.TimeoutExpired: p.kill(); p.wait()

@contextmanager
def chromium():
    "A browser without a window; where there is none, the test is skipped."
    path = next(filter(None, map(shutil.which, ('chromium', 'chromium-browser', 'google-chrome'))), None)
    if not path: pytest.skip('Chromium not found: install it (Debian: apt-get install chromium) to test widgets in a browser')
    from playwright.sync_api import sync_playwright
    with sync_playwright() as p:
        browser = p.chromium.launch(executable_path=path, args=FLAGS)
        try: yield browser
        finally: browser.close()

@pytest.fixture(scope='module')
def lab(tmp_path_factory):
    "JupyterLab and Chromium, started once for a test module."
    folder = tmp_path_factory.mktemp('lab')
    with chromium() as browser, jupyterlab(folder) as (url,token): yield Lab(url, token, folder, browser)
