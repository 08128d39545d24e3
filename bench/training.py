"""Measurement of a long training: seconds and memory over the number of steps, in a process of its own."""
import json
import subprocess
import sys
import tempfile
import time
from statistics import median

import numpy as np
import psutil
import torch

from cases import case
from edmxl.data.dataset import VIEWS, EchoDataset
from edmxl.data.phantom import write_phantom
from edmxl.models.echo_model import EchoModel, measure
from edmxl.models.presets import Training
from edmxl.training.diffusion import diffusion_recipe, diffusion_task, load_batch
from edmxl.training.loop import train
from edmxl.training.places import Place
from speed import Setup


def child(job:dict)->dict[str,list[float]]:
    "Train in this process, with validations, checkpoints and snapshots: step, seconds and resident memory every so often."
    c,place,began = case(job['case']),Place(device=torch.device(job['device'])),time.perf_counter()
    write_phantom(f'{job["folder"]}/data', c.map_size, (8,2,1), 0)
    ds = EchoDataset(f'{job["folder"]}/data')
    a,views,fit = ds.arrays(),np.array([VIEWS.index(r.view) for r in ds.rows]),ds.where('train')
    torch.manual_seed(0)
    model,t = EchoModel(c.unet, scaling=c.scaling).to(place.device),Training(1, batch=4)
    measure(model, *load_batch(a.images, a.sector, views, fit, place.device)[:2])
    task = diffusion_task(model, a.images, a.sector, views, fit, ds.where('val'), t, 0)
    recipe = diffusion_recipe(t, job['steps'], snapshots=8)
    rows = [(l['step'], time.perf_counter()-began, psutil.Process().memory_info().rss/2**20)
            for l in train(task, recipe, 0, f'{job["folder"]}/run', place) if l['step']%job['every']==0]
    steps,seconds,mib = map(list, zip(*rows, strict=True))
    return dict(steps=steps, seconds=seconds, mib=mib)

def steps(s:Setup)->dict:
    "Many steps of a small network: memory at the end against memory after a tenth of them."
    c,n = case('tiny'),60 if s.quick else 2000
    with tempfile.TemporaryDirectory() as folder:
        job = dict(case=c.name, device=str(s.device), folder=folder, steps=n, every=n//60)
        p = subprocess.run([sys.executable, __file__, json.dumps(job)], capture_output=True, text=True)
    if p.returncode: raise RuntimeError(f'a training of {n} steps failed:\n{p.stderr[-2000:]}')
    run = json.loads(p.stdout.splitlines()[-1])
    tenth = len(run['steps'])//10
    early,late = (median(run['mib'][i:j]) for i,j in ((tenth, 2*tenth), (-tenth, None)))
    return dict(case=c.name, **run, early_mib=early, late_mib=late)

if __name__=='__main__': print(json.dumps(child(json.loads(sys.argv[1]))))
