"Published archives from a server on this machine: interrupted, wrong, hostile, and through the command."
import hashlib
import json
import os
import signal
import stat
import subprocess
import sys
import threading
import time
import warnings
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO

import pytest
from conftest import edmxl, environment
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edmxl.data import download as module
from edmxl.data.download import Remote, download, fetch, published, unpack
from edmxl.data.files import BadInput

def archive(*members):
    b = BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(b, 'w', zipfile.ZIP_DEFLATED) as z:
        warnings.simplefilter('ignore') # a name twice
        for name,content in members: z.writestr(name, content)
    return b.getvalue()

MODELS = archive(('trained_models/edm/net.pkl', os.urandom(3_000_000)), ('trained_models/readme.txt', b'hello'))
IMAGES = archive(('generated_data/1.png', b'png'))

class Site:
    "A server of files on this machine."
    def __init__(self): self.files,self.ranges,self.cut,self.delay,self.codes,self.asked = {},True,None,0,[],[]

    def answer(self, h):
        body,start = self.files.get(h.path),0
        if self.codes: return h.send_error(self.codes.pop(0))
        if body is None: return h.send_error(404)
        if (r := h.headers.get('Range')) and self.ranges: start = int(r[6:-1])
        self.asked.append((h.path, start))
        if start>=len(body): return h.send_error(416)
        h.send_response(206 if start else 200)
        if start: h.send_header('Content-Range', f'bytes {start}-{len(body)-1}/{len(body)}')
        h.send_header('Content-Length', str(len(body)-start))
        h.end_headers()
        body = body[start:][:self.cut if h.path!='/record' else None]
        for i in range(0, len(body), 100_000):
            h.wfile.write(body[i:i+100_000])
            time.sleep(self.delay)

    def publish(self, **archives):
        files = [dict(key=n+'.zip', size=len(b), checksum=f'md5:{hashlib.md5(b).hexdigest()}', links=dict(self=f'{self.base}/{n}.zip'))
                 for n,b in archives.items()]
        self.files = {f'/{n}.zip': b for n,b in archives.items()} | {'/record': json.dumps(dict(files=files)).encode()}

    @property
    def record(self): return f'{self.base}/record'

    @property
    def models(self): return published(self.record)['trained_models.zip']

@pytest.fixture
def site(monkeypatch):
    monkeypatch.setenv('no_proxy', '127.0.0.1')
    s = Site()
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_): pass
        def do_GET(self):
            try: s.answer(self)
            except (BrokenPipeError, ConnectionResetError): pass
    server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
    s.base = f'http://127.0.0.1:{server.server_port}'
    threading.Thread(target=server.serve_forever, args=(.02,), daemon=True).start()
    s.publish(trained_models=MODELS, generated_data=IMAGES)
    yield s
    server.shutdown(); server.server_close()

def tree(folder): return sorted(p.relative_to(folder).as_posix() for p in folder.rglob('*') if not p.is_dir())

def test_everything(site, tmp_path):
    (tmp_path/'trained_models').mkdir()
    (tmp_path/'trained_models'/'README.md').write_text('mine')
    log = list(download(out=tmp_path, url=site.record))
    assert tree(tmp_path)==['data/generated_data.json','data/generated_data/1.png','trained_models/README.md',
                            'trained_models/edm/net.pkl','trained_models/readme.txt','trained_models/trained_models.json']
    for name in ('download trained_models','unpack trained_models'):
        done = [p.done for p in log if p.what==name]
        assert done==sorted(done) and done[-1]==next(p.total for p in log if p.what==name)
    site.asked.clear()
    assert all(p.what.startswith('ready') for p in download(out=tmp_path, url=site.record)) and site.asked==[('/record', 0)]

def test_a_changed_record_is_fetched_again(site, tmp_path):
    list(download(('generated_data',), tmp_path, site.record))
    site.publish(generated_data=archive(('generated_data/2.png', b'more')))
    list(download(('generated_data',), tmp_path, site.record))
    assert 'data/generated_data/2.png' in tree(tmp_path)

@pytest.mark.parametrize('ranges', [True,False])
def test_resume(site, tmp_path, ranges):
    site.ranges = ranges
    (tmp_path/'m.zip.part').write_bytes(MODELS[:1234])
    for n in fetch(site.models, tmp_path/'m.zip'): # noqa: B007
        if n>1_500_000: break                      # the caller goes away
    assert (tmp_path/'m.zip.part').exists() and not (tmp_path/'m.zip').exists()
    site.asked.clear()
    list(fetch(site.models, tmp_path/'m.zip'))
    assert (tmp_path/'m.zip').read_bytes()==MODELS and not (tmp_path/'m.zip.part').exists()
    assert site.asked[-1][1]>1_000_000 or not ranges

def test_short_connections(site, tmp_path):
    site.cut = 700_000
    list(fetch(site.models, tmp_path/'m.zip'))
    assert (tmp_path/'m.zip').read_bytes()==MODELS
    assert [s for p,s in site.asked if p!='/record']==list(range(0, len(MODELS), 700_000))

def test_server_that_gives_up(site, tmp_path):
    site.cut,site.ranges = 1000,False
    with pytest.raises(BadInput, match='1000 of .* bytes .* goes on from there'): list(fetch(site.models, tmp_path/'m.zip'))
    site.cut,site.ranges = None,True
    list(fetch(site.models, tmp_path/'m.zip'))
    assert (tmp_path/'m.zip').read_bytes()==MODELS

def test_busy_server(site, tmp_path):
    remote,site.codes = site.models,[503,429]
    list(fetch(remote, tmp_path/'m.zip'))
    assert (tmp_path/'m.zip').read_bytes()==MODELS
    site.codes = [503]*9
    with pytest.raises(BadInput, match='HTTP 503'): list(fetch(remote, tmp_path/'n.zip'))
    assert len(site.codes)==6

@pytest.mark.parametrize('there', [b'x'*1000, b'x'*len(MODELS), b'x'*(len(MODELS)+1)])
def test_part_of_something_else(site, tmp_path, there):
    (tmp_path/'m.zip.part').write_bytes(there)
    try: list(fetch(site.models, tmp_path/'m.zip'))
    except BadInput as e: assert 'MD5' in str(e) and tree(tmp_path)==[]
    list(fetch(site.models, tmp_path/'m.zip'))
    assert (tmp_path/'m.zip').read_bytes()==MODELS

def test_file_shrank_on_the_server(site, tmp_path):
    remote = site.models
    site.files['/trained_models.zip'] = MODELS[:1000]
    (tmp_path/'m.zip.part').write_bytes(MODELS[:2000])
    with pytest.raises(BadInput, match='of .* bytes came'): list(fetch(remote, tmp_path/'m.zip'))

def test_wrong_checksum(site, tmp_path):
    site.files['/trained_models.zip'] = MODELS[:-1]+b'?'
    with pytest.raises(BadInput, match='arrived damaged'): list(download(('trained_models',), tmp_path, site.record))
    assert tree(tmp_path)==[]

def test_longer_than_declared(site, tmp_path):
    site.files['/trained_models.zip'] = MODELS*3
    list(fetch(site.models._replace(url=f'{site.base}/trained_models.zip'), tmp_path/'m.zip'))
    assert (tmp_path/'m.zip').read_bytes()==MODELS

def test_not_found(site, tmp_path):
    with pytest.raises(BadInput, match='HTTP 404'): list(fetch(site.models._replace(url=site.base+'/none'), tmp_path/'m.zip'))
    site.publish(generated_data=IMAGES)
    with pytest.raises(BadInput, match='has no trained_models.zip any more'): list(download(out=tmp_path, url=site.record))

@pytest.mark.parametrize('entry', [dict(size=-1), dict(size='9'), dict(checksum='sha256:00'), dict(checksum=None), dict(key='../x'),
                                   dict(key=3), dict(links={}), dict(links=dict(self='file:///etc/passwd')), dict(links=dict(self='http://example.org/x'))])
def test_odd_records(site, entry):
    good = dict(key='a.zip', size=3, checksum='md5:'+'0'*32, links=dict(self='https://example.org/a.zip'))
    site.files['/odd'] = json.dumps(dict(files=[good | entry])).encode()
    with pytest.raises(BadInput, match='lists no files with size and checksum'): published(site.base+'/odd')

@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.recursive(st.none()|st.integers()|st.text(), lambda x: st.lists(x)|st.dictionaries(
    st.sampled_from(['files','key','size','checksum','links','self','filename']), x)))
def test_any_record(answer):
    class Response(BytesIO): pass
    was,module._open = module._open,lambda *_: Response(json.dumps(answer).encode())
    try:
        with pytest.raises(BadInput): published('https://example.org/record')
    finally: module._open = was

@pytest.mark.parametrize('form', [lambda u: dict(filename='a.zip', filesize=3, checksum='md5:'+'0'*32, links=dict(download=u))])
def test_older_form_of_the_record(site, form):
    site.files['/old'] = json.dumps(dict(files=[form('https://example.org/a.zip')])).encode()
    assert published(site.base+'/old')=={'a.zip': Remote('a.zip', 'https://example.org/a.zip', 3, '0'*32)}

def test_no_network(tmp_path):
    with pytest.raises(BadInput, match=r'cannot reach 127.0.0.1:1 .*refused.*by hand and put generated_data.zip into data/'):
        list(download(out=tmp_path/'new', url='http://127.0.0.1:1/api/records/1'))
    assert not (tmp_path/'new').exists()

def test_archives_put_there_by_hand(tmp_path):
    (tmp_path/'data').mkdir()
    (tmp_path/'data'/'generated_data.zip').write_bytes(IMAGES)
    with pytest.raises(BadInput, match='cannot reach'): list(download(out=tmp_path, url='http://127.0.0.1:1/record'))
    list(download(('generated_data',), tmp_path, 'http://127.0.0.1:1/record'))
    assert tree(tmp_path)==['data/generated_data.json','data/generated_data/1.png']
    (tmp_path/'data'/'generated_data.zip').write_bytes(IMAGES[:-9])
    with pytest.raises(BadInput, match='Download it again'):
        list(download(('generated_data',), tmp_path, 'http://127.0.0.1:1/record'))

def test_another_archive_put_there_by_hand(site, tmp_path):
    (tmp_path/'data').mkdir()
    (tmp_path/'data'/'generated_data.zip').write_bytes(MODELS)
    with pytest.raises(BadInput, match='is not the published archive'): list(download(('generated_data',), tmp_path, site.record))

def test_full_disk(site, tmp_path, monkeypatch):
    monkeypatch.setattr(module.shutil, 'disk_usage', lambda _: module.shutil._ntuple_diskusage(10, 9, 1000))
    with pytest.raises(BadInput, match='are free'): list(download(('trained_models',), tmp_path, site.record))
    assert tree(tmp_path)==[] and len(site.asked)==1

LINK = zipfile.ZipInfo('dir/link'); LINK.external_attr = (stat.S_IFLNK|0o777)<<16
DEVICE = zipfile.ZipInfo('dir/null'); DEVICE.external_attr = (stat.S_IFCHR|0o777)<<16
EVIL = {'parent': ([('../evil', b'')], 'unsafe name'), 'absolute': ([('/evil', b'')], 'unsafe name'),
        'inside': ([('a/../../evil', b'')], 'unsafe name'),
        'backslash': ([('..\\evil', b'')], 'unsafe name'), 'drive': ([('C:evil', b'')], 'unsafe name'),
        'terminal': ([('a\x1b[2J', b'')], 'unsafe name'),
        'link': ([(LINK, b'/etc'), ('dir/link/passwd', b'')], 'link or device'), 'device': ([(DEVICE, b'')], 'link or device'),
        'twice': ([('a', b'1'), ('a', b'2')], 'twice'), 'cases': ([('a', b'1'), ('A', b'2')], 'twice'),
        'bomb': ([('zeros', bytes(10**7))], 'a bomb'),
        'file and folder': ([('a', b'1'), ('a/b', b'2')], 'Download it again'), 'empty name': ([('.', b'1')], 'unsafe name')}

@pytest.mark.parametrize('what', EVIL)
def test_evil_archives(tmp_path, what):
    members,part = EVIL[what]
    (tmp_path/'evil.zip').write_bytes(archive(('good.txt', b'fine'), *members))
    with pytest.raises(BadInput, match=part): list(unpack(tmp_path/'evil.zip', tmp_path/'in'/'dir'))
    assert tree(tmp_path)==['evil.zip']

def test_lying_sizes(tmp_path):
    "A member that says it is small, and is not, ends with a wrong checksum after what it said."
    whole = bytearray(archive(('a', b'x'*5000)))
    for at,offset in ((whole.rfind(b'PK\1\2'), 24), (0, 22)): whole[at+offset:at+offset+4] = (10).to_bytes(4, 'little')
    (tmp_path/'lie.zip').write_bytes(whole)
    with pytest.raises(BadInput, match='Download it again'): list(unpack(tmp_path/'lie.zip', tmp_path/'in'))
    assert tree(tmp_path)==['lie.zip']

def test_overlapping_members(tmp_path):
    "Many entries over one compressed body claim more packed bytes than the archive has."
    b = bytearray(archive(('a', os.urandom(5000))))
    at,end = b.rfind(b'PK\1\2'),b.rfind(b'PK\5\6')
    entry = bytes(b[at:end])
    more = b''.join(entry.replace(b'a', bytes([c])) if entry[-1:]==b'a' else entry for c in b'abcdefgh')
    tail = bytearray(b[end:])
    tail[8:12] = (8).to_bytes(2, 'little')*2
    tail[12:16] = len(more).to_bytes(4, 'little')
    (tmp_path/'overlap.zip').write_bytes(bytes(b[:at])+more+bytes(tail))
    with pytest.raises(BadInput): list(unpack(tmp_path/'overlap.zip', tmp_path/'in'))
    assert tree(tmp_path)==['overlap.zip']

def test_links_in_the_target(tmp_path):
    (tmp_path/'outside').mkdir(); (tmp_path/'in').mkdir()
    (tmp_path/'in'/'edm').symlink_to(tmp_path/'outside')
    (tmp_path/'a.zip').write_bytes(archive(('edm/net', b'1')))
    with pytest.raises(BadInput, match='stands in the way'): list(unpack(tmp_path/'a.zip', tmp_path/'in'))
    (tmp_path/'in'/'edm').unlink()
    (tmp_path/'in'/'edm').mkdir(); (tmp_path/'in'/'edm'/'net').symlink_to(tmp_path/'nowhere')
    with pytest.raises(BadInput, match='differs'): list(unpack(tmp_path/'a.zip', tmp_path/'in'))
    assert tree(tmp_path/'outside')==[] and not (tmp_path/'nowhere').exists()

def test_interrupted_unpacking_leaves_nothing(tmp_path):
    (tmp_path/'a.zip').write_bytes(archive(*((f'x/{i}', os.urandom(100)) for i in range(10))))
    for n in unpack(tmp_path/'a.zip', tmp_path/'in'): # noqa: B007
        if n>300: break
    assert tree(tmp_path)==['a.zip']

@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=3), keep=st.floats(0, 1))
def test_damaged_archives(tmp_path, flips, keep):
    "Everything or nothing, and never another exception."
    whole = bytearray(archive(('a/one.txt', b'one'), ('two.txt', b'2'*50)))
    for share,x in flips: whole[int(share*len(whole))] ^= x
    if keep<.3: whole = whole[:int(keep/.3*len(whole))]
    (tmp_path/'d.zip').write_bytes(whole)
    module.shutil.rmtree(tmp_path/'in', ignore_errors=True)
    try: list(unpack(tmp_path/'d.zip', tmp_path/'in'))
    except BadInput: assert tree(tmp_path)==['d.zip']
    module.shutil.rmtree(tmp_path/'in', ignore_errors=True)
    assert tree(tmp_path)==['d.zip']

def test_command(site, tmp_path):
    code,said,err = edmxl('weights', 'download', '--url', site.record, '--out', tmp_path, '--only', 'trained_models')
    assert code==0 and 'trained_models' in said, err
    assert tree(tmp_path)==['trained_models/edm/net.pkl','trained_models/readme.txt','trained_models/trained_models.json']
    code,_,err = edmxl('weights', 'download', '--url', 'http://127.0.0.1:1/record', '--out', tmp_path/'new')
    assert code==2 and 'cannot reach 127.0.0.1:1' in err and err.count('\n')==1 and not (tmp_path/'new').exists()
    code,_,err = edmxl('weights', 'download', '--only', 'cats', '--out', tmp_path/'new')
    assert code==2 and 'unknown archive "cats"' in err

def test_interrupted_command_goes_on(site, tmp_path):
    words = [sys.executable, '-m', 'edmxl', 'weights', 'download', '--url', site.record, '--out', str(tmp_path), '--only', 'trained_models']
    site.delay,part = .05,tmp_path/'trained_models'/'trained_models.zip.part'
    p = subprocess.Popen(words, env=environment(), stderr=subprocess.PIPE, start_new_session=True,
                         preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
    end = time.monotonic()+60
    while not (part.exists() and part.stat().st_size>500_000) and time.monotonic()<end: time.sleep(.01)
    os.kill(p.pid, signal.SIGINT)
    said = p.communicate()[1].decode()
    assert p.returncode==130 and 'interrupted' in said and 'Traceback' not in said
    site.delay = 0
    site.asked.clear()
    subprocess.run(words, env=environment(), check=True, capture_output=True)
    assert site.asked[-1][1]>500_000 and (tmp_path/'trained_models'/'edm'/'net.pkl').stat().st_size==3_000_000
