"""Measurement of data feeding: memory-mapped bytes against one PNG image and one PNG label map an item, one-hot and float."""
import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from edmxl.data.augmentation import augment
from edmxl.data.dataset import VIEWS, EchoDataset
from edmxl.data.phantom import write_phantom
from edmxl.training.diffusion import load_batch
from edmxl.training.draws import batch_indices, generator
from speed import Setup
from timing import alternate, ratio

CLASSES = 10 # of the reference's one-hot maps; five of them are used

class PngItems(Dataset):
    "The reference's way, from its description: decode two files an item, label map one-hot in float32."
    def __init__(self, folder:Path, names:list[str]): self.folder,self.names = folder,names
    def __len__(self): return len(self.names)
    def __getitem__(self, i:int):
        image,labels = (np.array(Image.open(self.folder/d/f'{self.names[i]}.png')) for d in ('images','sector'))
        one_hot = F.one_hot(torch.from_numpy(labels).long(), CLASSES).movedim(-1, 0).float()
        return torch.from_numpy(image/127.5 - 1).float()[None],one_hot

def ours(ds:EchoDataset, batch:int, device:torch.device, moved:bool):
    "One epoch of our batches, augmented or not."
    a,views,n = ds.arrays(),np.array([VIEWS.index(r.view) for r in ds.rows]),len(ds)
    for step in range(n//batch):
        x,m,_ = load_batch(a.images, a.sector, views, batch_indices(n, batch, step, 0).numpy(), device)
        if moved: augment(x, m, None, generator(0, step), intensity=False)

def theirs(ds:EchoDataset, batch:int, device:torch.device, workers:int):
    "One epoch of the reference's batches."
    items = PngItems(ds.folder, [r.name for r in ds.rows])
    loader = DataLoader(items, batch, shuffle=True, num_workers=workers, generator=torch.Generator().manual_seed(0))
    for x,m in loader: x.to(device); m.to(device)

def loader(s:Setup)->dict:
    "Images a second of an epoch, every way in turn, files in the page cache."
    size,patients,batch = (16,4,8) if s.quick else (256,24,32)
    with tempfile.TemporaryDirectory() as folder:
        write_phantom(f'{folder}/data', size, (patients,0,0), 0)
        ds = EchoDataset(f'{folder}/data')
        ds.arrays()
        ways = {'PNG, one-hot': partial(theirs, ds, batch, s.device, 0), 'PNG, one-hot, 2 workers': partial(theirs, ds, batch, s.device, 2),
                'memory-mapped': partial(ours, ds, batch, s.device, False),
                'memory-mapped, augmented': partial(ours, ds, batch, s.device, True)}
        seconds = alternate(ways, s.rounds, s.device)
        rate = {k: len(ds)/float(np.median(v)) for k,v in seconds.items()}
        times = {k: ratio(seconds, k, 'memory-mapped') for k in list(ways)[:2]}
    return dict(size=size, batch=batch, images=4*patients, images_per_second=rate, times_faster=times,
                kb_per_image={'PNG, one-hot': (1+CLASSES)*4*size*size/1e3, 'memory-mapped': 2*size*size/1e3})
