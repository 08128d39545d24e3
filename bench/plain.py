"""The plain path: SPADE's convolutions of the one-hot label map in full at every evaluation, in contiguous memory, as published.

The plain path is a copy, because its memory layout differs; the network without conditioning shares the numbers it is made from."""
from copy import deepcopy
from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from edmxl.data.label_maps import NO_LABEL
from edmxl.models.denoiser import Denoiser
from edmxl.models.spade import SPADE


class PlainSPADE(nn.Module):
    "SPADE by its definition (Park et al. 2019, Eq. 1)."
    def __init__(self, spade:SPADE):
        super().__init__()
        self.patch = spade.patch
        self.norm,self.mlp_shared,self.mlp_gamma,self.mlp_beta = spade.norm,spade.mlp_shared,spade.mlp_gamma,spade.mlp_beta

    def forward(self,
        x:Tensor,   # `(b,c,h,w)` features
        hot:Tensor, # `(b,n_labels,H,W)` one-hot label map at its own resolution
    )->Tensor:      # `(b,c,h,w)`
        size = [s*self.patch for s in x.shape[-2:]]
        h = self.mlp_shared(F.pixel_unshuffle(F.interpolate(hot, size, mode='nearest'), self.patch))
        return self.norm(x)*(1 + self.mlp_gamma(h)) + self.mlp_beta(h)

class Bare(nn.Module):
    "The group norm of a SPADE without what the labels say."
    def __init__(self, spade:SPADE):
        super().__init__()
        self.norm = spade.norm

    def forward(self, x:Tensor, mod=None)->Tensor: return self.norm(x)

class PlainUNet(nn.Module):
    "A U-Net that works out its condition anew in every SPADE of every evaluation."
    def __init__(self, net:nn.Module):
        super().__init__()
        self.net,self.cfg = net,net.cfg

    def condition(self, label_map:Tensor|None, size:tuple, device=None)->Tensor:
        "Nothing is worked out beforehand."
        return label_map

    def forward(self, x:Tensor, c_noise:Tensor, label_map:Tensor, class_labels=None, augment_labels=None)->Tensor:
        m,n = label_map.long().expand(len(x), -1, -1),self.cfg.n_labels
        hot = F.one_hot(torch.where(m==NO_LABEL, n, m), n+1)[...,:n].movedim(-1, 1).float().contiguous()
        emb = self.net.embed(c_noise, self.net._classes(class_labels, x), augment_labels)
        y = self.net.run(F.pixel_unshuffle(x, self.cfg.patch).contiguous(), emb, iter([hot]*len(spades(self.net))))
        return F.pixel_shuffle(y, self.cfg.patch)


def spades(net:nn.Module)->list[str]:
    "Names of the SPADEs of a network, plain ones too."
    return [n for n,m in net.named_modules() if isinstance(m, (SPADE, PlainSPADE))]

def _swapped(d:Denoiser, new:type)->Denoiser:
    "`d` with each SPADE replaced by `new` of it; parameters elsewhere, and of the norms, are those of `d` itself."
    names = [f'net.{n}' for n in spades(d.net)]
    own = {id(p) for n in names for k,p in d.get_submodule(n).named_parameters() if not k.startswith('norm')}
    out = deepcopy(d, {id(p): p for p in d.parameters() if id(p) not in own})
    for n in names: out.set_submodule(n, new(out.get_submodule(n)))
    return out

def plain(
    denoiser:Denoiser, # any with SPADE
)->Denoiser:           # the same numbers, the long way; call it in fp32
    "The denoiser as the published code computes it."
    out = _swapped(denoiser, PlainSPADE)
    out.net = PlainUNet(out.net)
    out = deepcopy(out)
    for p in out.parameters(): p.data = p.data.contiguous()
    return out

def unconditioned(
    denoiser:Denoiser, # any with SPADE
)->Denoiser:           # takes no label map
    "The network without conditioning: each SPADE is its group norm alone."
    out = _swapped(denoiser, Bare)
    out.net.cfg = replace(out.net.cfg, n_labels=0)
    return out
