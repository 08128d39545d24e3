"What `make lab` starts: a real JupyterLab, asked as a browser asks it, ended as a person ends it."
import json
import os
import pty
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import ExitStack, contextmanager, suppress
from getpass import getuser
from pathlib import Path

import pytest
from browser import chromium, heard

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ['tutorials', 'runs', 'data', 'models', 'sampling', 'training', 'downstream', 'evaluation', 'workbench']

@contextmanager
def started(home, **more):
    """The server on a copy of the notebooks, with a terminal and a home of its own: the process, its address, what it printed.
    Ctrl-C works in it even where the tests run in the background of a shell."""
    for folder in ('nbs', 'docs'): shutil.copytree(ROOT/folder, home/folder)
    (opener := home/'opener').write_text(f'#!/bin/sh\necho "$@" > {home}/opened\n')
    opener.chmod(0o755)
    env = {k: v for k,v in os.environ.items() if k[:8]!='JUPYTER_' and k!='SSH_CONNECTION'}
    env |= dict(HOME=str(home), PYTHONPATH=f'{home}:{ROOT}', OMP_NUM_THREADS='1', BROWSER=str(opener)) | more
    _,terminal = pty.openpty()
    p = subprocess.Popen([sys.executable, '-m', 'docs.lab'], cwd=home, env=env, stdin=terminal, stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, text=True, start_new_session=True,
                         preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    try:
        said = ''
        while 'Ctrl-C' not in said:
            said += (line := p.stdout.readline())
            assert line, said
        yield p,re.search(r'http://\S+', said)[0],said
    finally:
        with suppress(ProcessLookupError): os.killpg(p.pid, signal.SIGKILL)
        p.wait()

def ended(p):
    "Press Ctrl-C once; what it still says."
    os.kill(p.pid, signal.SIGINT)
    said,_ = p.communicate(timeout=60)
    assert p.returncode==0 and 'Traceback' not in said, said

def asked(address, path):
    "What the server answers on a path, with the token of its address."
    base,_,token = re.match(r'(http://[^/]+)(.*)\?token=(.*)', address).groups()
    return json.load(urllib.request.urlopen(f'{base}/{path}?token={token}', timeout=60))

@pytest.fixture
def taken():
    "Port 8888, taken by us or by someone else."
    with ExitStack() as stack:
        with suppress(OSError): stack.enter_context(socket.create_server(('127.0.0.1', 8888)))
        yield

def test_over_ssh_it_says_what_to_type_and_opens_nothing(tmp_path, taken):
    with started(tmp_path, SSH_CONNECTION='192.0.2.7 50122 192.0.2.1 2222') as (p,address,said):
        port = int(re.search(r':(\d+)/', address)[1])
        assert port!=8888 and f'ssh -N -L {port}:127.0.0.1:{port} -p 2222 {getuser()}@192.0.2.1\n' in said
        cells = asked(address, 'api/contents/tutorials/20_explorer.ipynb')['content']['cells']
        assert 'Run > Run All Cells' in cells[0]['source']
        ended(p)
    assert not (tmp_path/'opened').exists()

def test_the_explorer_is_the_first_thing_seen_and_one_action_draws_an_echo(tmp_path):
    with chromium() as browser, started(tmp_path) as (p,address,said):
        page,elsewhere = heard(browser.new_page(viewport=dict(width=1400, height=1000))),[]
        here = address.partition('/lab')[0],'data:','blob:'
        page.set_default_timeout(120_000)
        page.on('request', lambda r: elsewhere.append(r.url) if not r.url.startswith(here) else None)
        page.goto(address)
        page.get_by_text('| Idle').wait_for()
        page.get_by_role('menuitem', name='Run', exact=True).click()
        page.get_by_text('Run All Cells', exact=True).click()
        page.wait_for_function("() => document.querySelector('.edmxl-message')?.innerText==='Done.'")
        assert page.locator('.edmxl-explorer').bounding_box()['y']<600                 # on the screen, without scrolling
        page.locator('.jp-BreadCrumbs-home').click()
        page.get_by_text('9 workbench').wait_for()
        names = page.locator('.jp-DirListing-itemText').all_inner_texts()
        assert names[:9]==[f'{i} {room}' for i,room in enumerate(ROOMS, 1)]
        page.get_by_text('3 data').dblclick()
        page.get_by_text('10_files.ipynb').wait_for()
        assert not elsewhere and not page.locator('.Toastify__toast').count()          # nothing is asked of other hosts, or of the user
        assert not page.wrong
        assert 'ssh' not in said and (tmp_path/'opened').exists()
        ended(p)
