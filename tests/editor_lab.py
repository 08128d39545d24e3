"A JupyterLab of its own and a real Chromium, for the test of the editor."
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLAGS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking',
         '--disable-component-update', '--disable-sync']
TOKEN = 'editor'
SETTINGS = '{"fetchNews": "false", "checkForUpdates": false}'

def chromium():
    "Path of Debian's browser; without one the test is skipped."
    path = shutil.which('chromium') or shutil.which('chromium-browser') or shutil.which('google-chrome')
    if not path: pytest.skip('no Chromium on this machine (apt install chromium)')
    return path

def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]

def answers(url):
    try: return urllib.request.urlopen(url, timeout=5).status==200
    except OSError: return False

@contextmanager
def lab(folder):
    "JupyterLab in `folder`, with a home of its own; its address."
    home,port = folder/'home',free_port()
    extension = home/'settings'/'@jupyterlab'/'apputils-extension'
    extension.mkdir(parents=True)
    (extension/'notification.jupyterlab-settings').write_text(SETTINGS)
    places = dict(HOME=home, JUPYTER_CONFIG_DIR=home/'config', JUPYTER_DATA_DIR=home/'data', JUPYTER_RUNTIME_DIR=home/'run',
                  JUPYTERLAB_SETTINGS_DIR=home/'settings', JUPYTERLAB_WORKSPACES_DIR=home/'workspaces', IPYTHONDIR=home/'ipython')
    env = os.environ | {k: str(v) for k,v in places.items()} | dict(PYTHONPATH=str(ROOT), OMP_NUM_THREADS='1')
    words = ['-m', 'jupyterlab', '--no-browser', '--allow-root', f'--port={port}', '--port-retries=0', f'--IdentityProvider.token={TOKEN}',
             '--LabApp.expose_app_in_browser=True', f'--ServerApp.root_dir={folder}']
    with open(folder/'lab.log', 'w') as log:
        p = subprocess.Popen([sys.executable, *words], cwd=folder, env=env, stdout=log, stderr=log, start_new_session=True)
        try:
            url,end = f'http://127.0.0.1:{port}',time.monotonic()+90
            while not answers(f'{url}/api/status?token={TOKEN}'):
                assert p.poll() is None and time.monotonic()<end, (folder/'lab.log').read_text()[-2000:]
                time.sleep(.3)
            yield url
        finally:
            p.terminate()
            try: p.wait(20)
            except subprocess.TimeoutExpired: p.kill()

IDLE = '''() => { const c = window.jupyterapp?.shell.currentWidget?.sessionContext;
  return c?.isReady && c.session?.kernel?.status === 'idle'; }'''

@contextmanager
def opened(folder, notebook, width=1500, height=1250):
    "The page of a notebook in `folder`, all of whose cells have been started."
    from playwright.sync_api import sync_playwright
    path = chromium()
    with lab(folder) as url, sync_playwright() as play:
        browser = play.chromium.launch(executable_path=path, args=FLAGS)
        page = browser.new_page(viewport=dict(width=width, height=height))
        page.goto(f'{url}/lab/tree/{notebook}?token={TOKEN}')
        page.wait_for_function(IDLE, timeout=120_000)
        page.evaluate("window.jupyterapp.commands.execute('notebook:run-all-cells')")
        try: yield page
        finally: browser.close()
