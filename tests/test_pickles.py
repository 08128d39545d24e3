"Network pickles, forged as the reference code writes them: good ones are converted, hostile and damaged ones run nothing."
import json
import os
import pickle
import re
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import types
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT, edmxl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from edmxl.data.files import BadInput
from edmxl.models.pickles import Record, import_pickle, read_network, read_pickle, state_dict

NAMES = ['edm_adm_class', 'edm_adm_augment', 'edm_ddpmpp_skip', 'edm_ncsnpp_class', 'edm_iddpm_adm',
         'edmlx_adm_class_semantic', 'edmlx_ncsnpp_semantic', 'edmlx_iddpm_adm_semantic']
PLACES = [ROOT/'tests'/'oracles', ROOT.parent/'shared'/'oracles']
FOUND = {n: p for n in NAMES for p in reversed(PLACES) if (p/f'{n}.json').exists()}
BUFFERS = ('resample_filter', 'freqs')
CONSTANTS = dict(VP=dict(beta_d=19.9, beta_min=.1, M=1000, epsilon_t=1e-5, sigma_min=9.8e-4, sigma_max=152.2),
                 VE=dict(sigma_min=.02, sigma_max=100), EDM=dict(sigma_min=0, sigma_max=float('inf'), sigma_data=.5),
                 iDDPM=dict(C_1=.001, C_2=.008, M=1000, sigma_min=.0064, sigma_max=20291.2))

def oracle(name):
    numbers = load_file(FOUND[name]/f'{name}.safetensors')
    config = json.loads((FOUND[name]/f'{name}.json').read_text())
    return {k[6:]: v.float() for k,v in numbers.items() if k.startswith('param.')}, config, numbers

class Persistent:
    "Pickles as an object of a class under the reference's persistence decorator does."
    def __init__(self, cls, state): self.cls,self.state = cls,state

    def __reduce__(self):
        source = 'import os; os.system("touch canary"); raise SystemExit'
        meta = dict(type='class', version=6, module_src=source, class_name=self.cls, state=self.state)
        return sys.modules['torch_utils.persistence']._reconstruct_persistent_obj,(meta,)

class Hostile:
    "Pickles as a call."
    def __init__(self, f, *args): self.f,self.args = f,args
    def __reduce__(self): return self.f,self.args

def module(cls, tree, **state):
    "A module of the reference from a tree of tensors; containers of torch stay what they are."
    own = torch.nn.Module().__dict__ | dict(_init_args=(), _init_kwargs={}, skip_scale=np.sqrt(.5)) | state
    for k,v in tree.items():
        if not isinstance(v, dict): own['_buffers' if k in BUFFERS else '_parameters'][k] = v if k in BUFFERS else torch.nn.Parameter(v)
        elif k in ('enc','dec'): own['_modules'][k] = container(torch.nn.ModuleDict(), v)
        elif k=='mlp_shared': own['_modules'][k] = container(torch.nn.Sequential(), v | {'1': torch.nn.ReLU()})
        else: own['_modules'][k] = module('Part', v)
    return Persistent(cls, own)

def container(net, tree):
    for k,v in tree.items(): net._modules[k] = module('Part', v) if isinstance(v, dict) else v
    return net

def network(state, config, precond):
    "A preconditioned network around the numbers of an oracle."
    tree = {}
    for name,t in state.items():
        at,*rest = tree,*name.split('.')
        for k in rest[:-1]: at = at.setdefault(k, {})
        at[rest[-1]] = t
    args = dict(config['args'])
    if precond=='iDDPM':
        channels = args.pop('img_channels'); args.pop('model_type')
        args |= dict(in_channels=channels, out_channels=2*channels)
    unet = module(config['cls'], tree, _init_kwargs=args | dict(label_dropout=0, num_blocks=args['num_blocks']))
    wrapper = torch.nn.Module().__dict__ | dict(_init_args=(), _init_kwargs=dict(img_resolution=16), use_fp16=False) | CONSTANTS[precond]
    wrapper['_modules']['model'] = unet
    if precond=='iDDPM': wrapper['_buffers']['u'] = torch.rand(1001)
    loss = Persistent('EDMLoss', dict(P_mean=-1.2, _init_args=(), _init_kwargs={}))
    return dict(ema=Persistent(precond+'Precond', wrapper), loss_fn=loss, augment_pipe=None,
                dataset_kwargs=dict(path='data', use_labels=False))

def forge(path, obj, protocol=4, save=pickle.dump):
    "Write a pickle with a stand-in for the reference's persistence module."
    def _reconstruct_persistent_obj(meta): raise AssertionError('a pickle was executed')
    m = types.ModuleType('torch_utils.persistence')
    m._reconstruct_persistent_obj = _reconstruct_persistent_obj
    _reconstruct_persistent_obj.__module__,_reconstruct_persistent_obj.__qualname__ = m.__name__,'_reconstruct_persistent_obj'
    sys.modules.update({'torch_utils': types.ModuleType('torch_utils'), m.__name__: m})
    try:
        with open(path, 'wb') as f: save(obj, f, **(dict(protocol=protocol) if save is pickle.dump else {}))
    finally: del sys.modules['torch_utils'],sys.modules[m.__name__]
    return Path(path)

def test_oracles_are_there(): assert FOUND

@pytest.fixture(autouse=True)
def canary(tmp_path, monkeypatch):
    "Every test runs in a folder of its own, in which no file named canary may appear."
    monkeypatch.chdir(tmp_path)
    yield
    assert not (tmp_path/'canary').exists()

def same(a, b):
    assert list(a)==list(b)
    for k,v in a.items(): assert torch.equal(v, b[k]), k

@pytest.mark.parametrize('protocol', [2,3,4,5])
@pytest.mark.parametrize('name', [n for n in FOUND if n in ('edm_adm_augment','edmlx_iddpm_adm_semantic','edm_ncsnpp_class')])
def test_numbers_and_configuration(tmp_path, name, protocol):
    state,config,_ = oracle(name)
    precond = 'iDDPM' if 'iddpm' in name else 'EDM'
    net = read_network(forge(tmp_path/'net.pkl', network(state, config, precond), protocol))
    assert set(net.state)==set(state)
    for k,v in state.items(): assert torch.equal(v, net.state[k]), k
    assert net.key=='ema' and net.keys==['ema','loss_fn','augment_pipe','dataset_kwargs']
    assert net.config['cls']==config['cls'] and net.config['precond']==precond and net.config['peer']==config['peer']
    assert net.config['args'] | config['args']==net.config['args']
    json.dumps(net.config, allow_nan=False)

@pytest.mark.parametrize('precond', ['VP','VE','EDM'])
@pytest.mark.parametrize('name', [n for n in FOUND if 'iddpm' not in n])
def test_denoiser(tmp_path, name, precond):
    "The imported file answers as the denoiser made directly, and as the reference itself."
    from edmxl.models.reference import from_reference, load_reference
    state,config,numbers = oracle(name)
    if precond not in config['preconds']: return
    import_pickle(forge(tmp_path/'net.pkl', network(state, config, precond)), tmp_path/'net.safetensors')
    got,direct = load_reference(tmp_path/'net.safetensors')[0],from_reference(state, config | dict(precond=precond))
    given = {k: numbers[f'in.{v}'] for k,v in (('label_map','labelmap'), ('class_labels','class_labels')) if f'in.{v}' in numbers}
    with torch.no_grad(): a,b = (d(numbers['in.x_noisy'], numbers['in.sigma'], **given) for d in (got, direct))
    assert torch.equal(a, b)
    if 'in.augment_labels' in numbers: return # stored with them
    expected = numbers[f'out.D_{precond}']
    assert (a-expected).abs().max()<=5e-5*expected.abs().max()

@pytest.mark.parametrize('name', [n for n in FOUND if 'iddpm' in n])
def test_iddpm_denoiser(tmp_path, name):
    from edmxl.models.reference import from_reference, load_reference
    state,config,_ = oracle(name)
    import_pickle(forge(tmp_path/'net.pkl', network(state, config, 'iDDPM')), tmp_path/'net.safetensors')
    got,direct = load_reference(tmp_path/'net.safetensors')[0],from_reference(state, config | dict(precond='iDDPM'))
    maps = dict(label_map=torch.randint(0, 9, (2,16,16), dtype=torch.uint8)) if 'semantic' in name else {}
    x,sigma = torch.randn(2,1,16,16),torch.tensor([.5,20.])
    with torch.no_grad(): assert torch.equal(got(x, sigma, **maps), direct(x, sigma, **maps))

def small(**replaced):
    "A small network pickle's content."
    state = {'map_layer0.weight': torch.randn(4,3), 'enc.8x8_conv.weight': torch.randn(4,1,3,3),
             'enc.8x8_conv.resample_filter': torch.ones(1,1,2,2),
             'dec.8x8_up.norm0.mlp_shared.0.weight': torch.randn(5,2)}
    config = dict(cls='SongUNet', args=dict(img_resolution=8, in_channels=1, out_channels=1, num_blocks=1, channel_mult=[1,2]))
    return network(state, config, 'VP') | replaced, state

@pytest.mark.parametrize('save', [pickle.dump, torch.save])
def test_zip_and_plain(tmp_path, save):
    data,state = small()
    same(read_network(forge(tmp_path/'net.pkl', data, save=save)).state, state)

def test_half_precision_and_net(tmp_path):
    data,state = small()
    data['net'] = data.pop('ema')
    data['net'].state['_modules']['model'].state['_modules']['map_layer0'].state['_parameters']['weight'] = \
        torch.nn.Parameter(state['map_layer0.weight'].half())
    net = read_network(forge(tmp_path/'net.pkl', data))
    assert net.key=='net' and torch.equal(net.state['map_layer0.weight'], state['map_layer0.weight'].half().float())

ATTACKS = {'posix.system': (os.system, 'touch canary'), 'subprocess.Popen': (subprocess.Popen, ['touch','canary']),
           'builtins.eval': (eval, 'open("canary","w")'), 'builtins.exec': (exec, 'open("canary","w")'),
           'builtins.getattr': (getattr, 'a', 'upper'), 'builtins.__import__': (__import__, 'this'), 'io.open': (open, 'canary', 'w'),
           '_pickle.loads': (pickle.loads, pickle.dumps(1)), 'torch.serialization.load': (torch.load, 'x'),
           'types.SimpleNamespace': (types.SimpleNamespace,), 'torch.hub.load': (torch.hub.load, 'x', 'y'),
           'shutil.rmtree': (shutil.rmtree, '.'), 'torch.nn.modules.linear.Linear': (torch.nn.Linear, 10, 10)}

@pytest.mark.parametrize('protocol', [3,4])
@pytest.mark.parametrize('name', ATTACKS)
@pytest.mark.parametrize('where', ['top','ema','inside','after'])
def test_hostile_calls(tmp_path, name, where, protocol):
    h = Hostile(*ATTACKS[name])
    data,_ = small()
    if where=='top': data = h
    if where=='ema': data['ema'] = h
    if where=='after': data['more'] = h
    if where=='inside': data['ema'].state['_modules']['model'].state['_init_kwargs']['dropout'] = h
    with pytest.raises(BadInput, match=f'asks for {re.escape(name)}: not a network pickle; nothing was run'):
        read_pickle(forge(tmp_path/'evil.pkl', data, protocol))

def test_getattr_chain(tmp_path):
    "A method pickles as a chain of calls; the first of them ends it."
    for p in (2,4):
        with pytest.raises(BadInput, match='asks for (builtins.getattr|pathlib.Path.touch)'):
            read_pickle(forge(tmp_path/'evil.pkl', dict(ema=Hostile(Path.touch, Path('canary'))), p))

def op(*parts): return b''.join(parts)
def text(s): return b'X'+struct.pack('<I', len(s))+s.encode()
def glob(module, name): return f'c{module}\n{name}\n'.encode()
REBUILD = glob('torch._utils', '_rebuild_tensor_v2')

def stream(numel=4, dtype='FloatStorage', body=b'\0'*16, said=None, root=None):
    "A storage in the stream format, honest or not."
    magic,version = pickle.dumps(0x1950a86a20f9469cfc6c, 2),pickle.dumps(1001, 2)
    root = root or op(b'\x80\x02(', text('storage'), glob('torch', dtype), text('0'), text('cpu'),
                      b'\x8a\x08', struct.pack('<q', numel), b'NtQ.')
    info = pickle.dumps(dict(little_endian=True), 2)
    return op(magic, version, info, root, pickle.dumps(['0'], 2), struct.pack('<q', numel if said is None else said), body)

def tensor(storage, offset=b'K\0', size=b'K\4\x85', stride=b'K\1\x85'):
    raw = op(b'B', struct.pack('<I', len(storage)), storage)
    return op(REBUILD, b'(', glob('torch.storage', '_load_from_bytes'), raw, b'\x85R', offset, size, stride, b'\x89}tR')

def top(value): return op(b'\x80\x04}', text('ema'), value, b's.')

def test_hand_made_tensor(tmp_path):
    (tmp_path/'a.pkl').write_bytes(top(tensor(stream(body=np.arange(4, dtype='<f4').tobytes()))))
    assert read_pickle('a.pkl')['ema'].tolist()==[0,1,2,3]

HUGE = b'\x8a\x08'+struct.pack('<q', 1<<60)
OPCODES = {
    'touch canary by STACK_GLOBAL': (
        op(b'\x80\x04', text('posix'), text('system'), b'\x93', text('touch canary'), b'\x85R.'), 'asks for posix.system'),
    'dotted name': (op(b'\x80\x04', text('torch.nn.modules.linear'), text('Linear.__init__.__globals__'), b'\x93.'), 'asks for'),
    'a name with line breaks': (op(b'\x80\x04', text('os\n\x1b[2J'), text('system'), b'\x93.'), 'asks for os'),
    'INST': (b'(X\x0c\0\0\0touch canaryios\nsystem\n.', 'damaged'),
    'OBJ': (op(b'(', glob('torch.nn.modules.linear', 'Linear'), b'o.'), 'damaged'),
    'EXT1': (b'\x80\x02\x82\x01.', 'damaged'),
    'NEWOBJ_EX': (op(b'\x80\x04', glob('torch.nn.modules.linear', 'Linear'), b')}\x92.'), 'damaged'),
    'PERSID': (b'Pabc\n.', 'damaged'),
    'BINPERSID in a plain pickle': (b'\x80\x02K\1Q.', 'damaged'),
    'BYTEARRAY8 of 4 EiB': (b'\x80\x05\x96'+struct.pack('<Q', 1<<62)+b'x.', 'damaged'),
    'BINBYTES8 of 4 EiB': (b'\x80\x04\x8e'+struct.pack('<Q', 1<<62)+b'x.', 'damaged'),
    'FRAME of 4 EiB': (b'\x80\x04\x95'+struct.pack('<Q', 1<<62)+b'N.', 'holds a NoneType'),
    'BINUNICODE of 4 GiB': (b'\x80\x04X\xff\xff\xff\xffx.', 'damaged'),
    'memo index of 4 Gi': (b'\x80\x02Kr\xff\xff\xff\xff.'.replace(b'K', b'N'), 'holds a NoneType'),
    'protocol 99': (b'\x80\x63N.', 'damaged'),
    'call of a module class': (op(b'\x80\x02', glob('torch.nn.modules.linear', 'Linear'), b')R.'),
                               'asks for torch.nn.modules.linear.Linear'),
    'call of a number': (b'\x80\x02K\1)R.', 'damaged'),
    'attributes for a name': (op(b'\x80\x02', glob('torch', 'Size'), b'}', text('__call__'), b'K\1sb.'), 'damaged'),
    'deep key': (op(b'\x80\x02}', b')', b'\x85'*100_000, b'Ns.'), 'damaged'),
    'deep list': (op(b'\x80\x02', b']'*100_000, b'a'*99_999, b'.'), 'holds a list'),
    'storage too short': (top(tensor(stream(numel=5))), 'claims'),
    'storage of 1 Ei numbers': (top(tensor(stream(numel=1<<60))), 'claims'),
    'storage of -1 numbers': (top(tensor(stream(numel=-1, body=b''))), 'damaged'),
    'storage counts differ': (top(tensor(stream(said=3))), 'claims'),
    'storage of another kind': (top(tensor(stream(dtype='QuantizedStorage'))), 'asks for torch.QuantizedStorage'),
    'hostile storage': (top(tensor(stream(root=pickle.dumps(Hostile(os.system, 'touch canary'), 2)))), 'asks for posix.system'),
    'storage is a pickle': (top(tensor(pickle.dumps(Hostile(os.system, 'touch canary'), 2))), 'asks for posix.system'),
    'storage is a zip': (top(tensor(b'PK\3\4'+b'\0'*60)), 'damaged'),
    'tensor too long': (top(tensor(stream(), size=b'K\5\x85')), 'claims'),
    'tensor of stride 0': (top(tensor(stream(), size=HUGE+b'\x85', stride=b'K\0\x85')), 'claims'),
    'tensor beyond its storage': (top(tensor(stream(), offset=b'K\1')), 'claims'),
    'tensor of a huge stride': (top(tensor(stream(), stride=HUGE+b'\x85')), 'claims'),
    'tensor of a negative offset': (top(tensor(stream(), offset=b'J\xff\xff\xff\xff')), 'impossible'),
    'tensor of a tensor': (top(op(REBUILD, b'(', tensor(stream()), b'K\0K\4\x85K\1\x85\x89}tR')), 'without a storage'),
    'parameter of a text': (top(op(glob('torch._utils', '_rebuild_parameter'), text('x'), b'\x88}\x87R')), 'without a tensor'),
    'text': (b'hello, this is no pickle', 'damaged'), 'html': (b'<!DOCTYPE html><html>', 'damaged'), 'empty': (b'', 'damaged'),
    'numpy object': (pickle.dumps(dict(ema=np.array([{}], object)), 4), 'asks for numpy'),
    'safetensors': (struct.pack('<Q', 2)+b'{}', 'damaged')}

@pytest.mark.parametrize('what', OPCODES)
def test_hostile_instructions(tmp_path, what):
    data,part = OPCODES[what]
    (tmp_path/'evil.pkl').write_bytes(data)
    with pytest.raises(BadInput) as e: read_network('evil.pkl')
    assert part in str(e.value) and '\n' not in str(e.value) and str(e.value).isprintable() and len(str(e.value))<300

def test_one_storage_many_times(tmp_path):
    "A thousand reads of the same bytes may not take a thousand times the file."
    raw = stream(numel=1<<18, body=b'\0'*(4<<18))
    again = op(glob('torch.storage', '_load_from_bytes'), b'h\0\x85Ra')*1000
    many = op(b'\x80\x02]', b'B', struct.pack('<I', len(raw)), raw, b'q\0a', again, b'.')
    (tmp_path/'many.pkl').write_bytes(many)
    with pytest.raises(BadInput, match='larger than the file'): read_pickle('many.pkl')

def rezip(path, change, compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path) as z: members = {n: z.read(n) for n in z.namelist()}
    with zipfile.ZipFile(path, 'w', compression) as z:
        for n,b in change(members).items(): z.writestr(n, b)
    return path

def test_hostile_zip(tmp_path):
    data,_ = small()
    def good(): return forge(tmp_path/'net.pt', data, save=torch.save)
    def swap(ending, b): return lambda m: {n: b if n.endswith(ending) else v for n,v in m.items()}
    for change,part in ((swap('data.pkl', pickle.dumps(Hostile(os.system, 'touch canary'))), 'asks for posix.system'),
                        (swap('data/0', b'1234'), 'claims'), (swap('data/0', b'123'), 'damaged'),
                        (swap('byteorder', b'big'), 'big-endian'), (lambda m: {'x/y': b'z'}, 'without data.pkl')):
        with pytest.raises(BadInput, match=part): read_pickle(rezip(good(), change))
    with pytest.raises(BadInput, match='a compressed'): read_pickle(rezip(good(), lambda m: m, zipfile.ZIP_DEFLATED))

@pytest.mark.parametrize('args,part', [(dict(model_channels=10**9), 'model_channels'), (dict(channel_mult=[1]*1000), 'channel_mult'),
    (dict(dropout=[[1]]), 'dropout'), (dict(label_dim=None, embedding_type='x'*1000), 'embedding_type'), ({'a': {}}, 'argument a'),
    (dict(pos=3), 'unknown argument pos'),
    (dict(img_resolution=10**5000), 'img_resolution')])
def test_odd_arguments(tmp_path, args, part):
    data,_ = small()
    data['ema'].state['_modules']['model'].state['_init_kwargs'] |= args
    with pytest.raises(BadInput, match=part): read_network(forge(tmp_path/'net.pkl', data))

ODD = [('beta_d', 7., 'beta_d = 7'), ('M', torch.zeros(3), 'Boolean|M'), ('sigma_min', 'x', 'no numbers'),
       ('sigma_max', 10**5000, 'digits'), ('beta_min', 10**5000, 'digits'), ('_modules', [], 'VPPrecond'),
       ('_modules', {'model': 3}, 'VPPrecond'),
       ('_buffers', {'v': torch.ones(1)}, 'outside'), ('_buffers', [1], 'no network')]

@pytest.mark.parametrize('key,value,part', ODD, ids=range(len(ODD)))
def test_odd_networks(tmp_path, key, value, part):
    data,_ = small()
    data['ema'].state[key] = value
    with pytest.raises(BadInput, match=part): read_network(forge(tmp_path/'net.pkl', data))

@pytest.mark.parametrize('data,part', [
    ({'a': torch.zeros(2)}, 'state dict'), (dict(epoch=3), 'the keys epoch'), ({}, 'none'), ([1], 'holds a list'),
    (dict(ema=torch.nn.Linear(2,2)), 'holds a Linear'), (torch.nn.Linear(2,2).state_dict(), '2 tensors by name')])
@pytest.mark.parametrize('save', [pickle.dump, torch.save])
def test_other_content(tmp_path, data, part, save):
    with pytest.raises(BadInput, match=part): read_network(forge(tmp_path/'other.pkl', data, save=save))

@pytest.mark.parametrize('args', [dict(model_channels=4096, channel_mult=[4096]*16), dict(num_blocks=4096), dict(model_channels=2.5),
    dict(model_channels=0), dict(model_channels=-8), dict(channel_mult=3), dict(attn_resolutions=8), dict(img_resolution=0),
    dict(unknown=3), dict(semantic_label_nc=4096), dict(encoder_type='odd'), dict(label_dim=4096), dict(resample_filter=[])])
def test_arguments_that_do_not_fit(tmp_path, args):
    "A network of a terabyte is refused before it is made, in little memory; so is one that cannot be made."
    name = min(FOUND, key=lambda n: (FOUND[n]/f'{n}.safetensors').stat().st_size)
    state,config,_ = oracle(name)
    data = network(state, config, 'iDDPM' if 'iddpm' in name else 'EDM')
    data['ema'].state['_modules']['model'].state['_init_kwargs'] |= args
    forge(tmp_path/'net.pkl', data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try: import_pickle(tmp_path/'net.pkl', tmp_path/'net.safetensors')
    except BadInput as e: assert 'net.pkl' in str(e) and [p.name for p in tmp_path.iterdir()]==['net.pkl']
    else: assert args in (dict(semantic_label_nc=4096), dict(encoder_type='odd'), dict(resample_filter=[])) # unused there
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss-before<256*1024 # KiB

def test_billion_laughs(tmp_path):
    m = Record('Leaf', dict(_parameters=dict(w=torch.zeros(1))))
    for i in range(60): m = Record('Twice', dict(_modules={'a'*i: m, 'b': m}))
    with pytest.raises(BadInput): state_dict(m)

GOOD = {}

def good(save):
    if save not in GOOD:
        torch.manual_seed(0)
        with tempfile.TemporaryDirectory() as d: GOOD[save] = forge(Path(d)/'n', small()[0], save=save).read_bytes()
    return GOOD[save]

def outcome(folder, data):
    "Reading ends in a network or in `BadInput`, in bounded memory, and runs nothing."
    path = Path(folder)/'damaged.pkl'
    path.write_bytes(data)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try: net = read_network(path)
    except BadInput as e: assert '\n' not in str(e); net = None
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss-before<64*1024 # KiB
    return net

quiet = settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))

@pytest.mark.parametrize('save', [pickle.dump, torch.save])
@quiet
@given(share=st.floats(0, 1, exclude_max=True))
def test_truncated(tmp_path, save, share):
    whole = good(save)
    assert outcome(tmp_path, whole[:int(share*len(whole))]) is None

@pytest.mark.parametrize('save', [pickle.dump, torch.save])
@quiet
@given(flips=st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.integers(1, 255)), min_size=1, max_size=4))
def test_flipped_bytes(tmp_path, save, flips):
    "A flip inside the numbers gives other numbers (a pickle has no checksum); any other is refused or harmless."
    b = bytearray(good(save))
    for share,x in flips: b[int(share*len(b))] ^= x
    outcome(tmp_path, bytes(b))

@quiet
@given(tail=st.binary(max_size=60), protocol=st.sampled_from([2,4]))
def test_random_instructions(tmp_path, tail, protocol): outcome(tmp_path, bytes([0x80,protocol])+tail)

def test_command(tmp_path):
    data,_ = small(ema=Hostile(os.system, 'touch canary'))
    code,_,err = edmxl('weights', 'import', forge(tmp_path/'evil.pkl', data), tmp_path/'out.safetensors', cwd=tmp_path)
    assert code==2 and 'asks for posix.system: not a network pickle; nothing was run' in err and err.count('\n')==1
    code,_,err = edmxl('weights', 'import', tmp_path/'none.pkl', tmp_path/'out.safetensors')
    assert code==2 and 'not found' in err
    code,_,err = edmxl('weights', 'import', tmp_path/'evil.pkl', tmp_path/'out.pt')
    assert code==2 and '.safetensors' in err
    assert [p.name for p in tmp_path.iterdir()]==['evil.pkl']

def test_command_imports(tmp_path):
    name = min(FOUND, key=lambda n: (FOUND[n]/f'{n}.safetensors').stat().st_size)
    state,config,_ = oracle(name)
    forge(tmp_path/'net.pkl', network(state, config, 'iDDPM' if 'iddpm' in name else 'EDM'))
    code,said,err = edmxl('weights', 'import', tmp_path/'net.pkl', tmp_path/'net.safetensors')
    assert code==0, err
    assert config['cls'] in said and 'preconditioning' in said
    code,said,_ = edmxl('weights', 'show', tmp_path/'net.safetensors')
    assert code==0 and 'net.pkl' in said
