"""What is measured: networks with their image sizes, and the label maps they are shown."""
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edmxl.data.dataset import EchoDataset
from edmxl.data.files import BadInput
from edmxl.data.phantom import phantom_patient
from edmxl.models.denoiser import Denoiser, EDMScaling
from edmxl.models.presets import PRESETS, STUDY
from edmxl.models.unet import SongConfig, UNetConfig
from edmxl.training.losses import LOSSES, EDMLoss, Loss


@dataclass(frozen=True)
class Case:
    "A network and what it works on."
    name:str                    # as on the command line
    unet:UNetConfig             # architecture
    size:int                    # pixels per side of what it denoises
    map_size:int                # pixels per side of its label maps
    scaling:object=EDMScaling() # preconditioning
    loss:str='edm'              # of its training
    batch:int=4                 # images drawn at once on a CPU
    slow:bool=False             # one round less of its training step on a CPU

_W64 = UNetConfig(channels=64, mult=(1,2,3,4), blocks=3, heads=(0,2,3,4), middle_heads=4, n_labels=5, spade_hidden=128, resolution=64)
_TINY = dict(channels=16, mult=(1,2), blocks=1, heads=(0,1), middle_heads=1, n_labels=5, spade_hidden=16, resolution=16)

def case(
    name:str, # 'width-64', 'tiny', 'tiny-song' or a preset
)->Case:
    "The case of that name; raises `BadInput`."
    if name=='width-64': return Case(name, _W64, 64, 64)
    if name=='tiny': return Case(name, UNetConfig(**_TINY), 16, 16, batch=2)
    if name=='tiny-song': return Case(name, SongConfig(**_TINY, fourier=True, encoder='residual', taps=(1,3,3,1)), 16, 16, batch=2)
    if name not in PRESETS: raise BadInput(f'unknown case "{name}": expected width-64 or one of {", ".join(PRESETS)}.')
    p = PRESETS[name]
    factor = p.autoencoder.factor if p.autoencoder else 1
    return Case(name, p.unet, p.size//factor, p.size, p.scaling, p.training.loss, batch=1, slow=True)

def default_cases(
    device:torch.device, # where networks run
    quick:bool,          # tiny networks, for tests
)->list[str]:
    "Names of the cases of a run: every preset of the study where there is a GPU."
    if quick: return ['tiny']
    return ['width-64', *(p.name for p in STUDY)] if device.type=='cuda' else ['width-64', 'edm-l64']


def build(
    c:Case,              # which network
    device:torch.device, # where it runs
    seed:int=0,          # decides its numbers
)->Denoiser:             # in eval mode
    "An untrained denoiser whose answer is not zero: layers that begin as zeros get numbers too."
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = c.unet.build()
        for p in net.parameters():
            if p.ndim==4 and not p.any(): nn.init.normal_(p, std=p[0].numel()**-.5)
    return Denoiser(net, c.scaling).to(device).eval()

def loss_of(c:Case)->Loss:
    "The loss that a case is trained with."
    return EDMLoss(sigma_data=c.scaling.sigma_data) if c.loss=='edm' else LOSSES[c.loss]()

def label_maps(
    n:int,           # how many
    size:int,        # pixels per side of the phantoms
    folder:str|None, # an echo dataset to take them from instead, as they are
)->Tensor:           # `(n,h,w)` uint8
    "Distinct label maps: built-in phantoms, or spread over a dataset."
    if folder is None:
        echoes = [e for i in range(-(-n//4)) for e in phantom_patient((i, 'train', size, 0))]
        return torch.stack([torch.from_numpy(e.sector) for e in echoes[:n]])
    m = EchoDataset(folder).arrays().sector
    if len(m)<n: raise BadInput(f'{folder} holds {len(m)} label maps: at least {n} are needed. Give a larger dataset.')
    return torch.stack([torch.from_numpy(m[i*len(m)//n].copy()) for i in range(n)])
