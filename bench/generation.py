"""Measurement of generation: seconds and memory over the number of images, each number in a process of its own."""
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import torch

from cases import Case, build, case
from edmxl.data.dataset import write_dataset
from edmxl.data.phantom import phantom_patient
from edmxl.models.echo_model import EchoModel, save_echo_model
from edmxl.sampling.generate import make_plan
from edmxl.sampling.workers import generate
from memory import peak_mib
from speed import Setup


def inputs(c:Case, folder:Path):
    "A model of random numbers and eight label maps of phantoms."
    model = EchoModel(c.unet, scaling=c.scaling)
    model.denoiser = build(c, torch.device('cpu'))
    save_echo_model(folder/'model.safetensors', model, c.map_size, licence='none')
    echoes = [e._replace(image=None) for i in range(2) for e in phantom_patient((i, 'train', c.map_size, 0))]
    write_dataset(folder/'maps', echoes, c.map_size, 'phantom', 'none', kinds=('sector','anatomy'))

def child(job:dict)->dict[str,list[float]]:
    "Draw in this process: images, seconds, processor seconds and resident memory at the end of each micro-batch, and the peak."
    device,began = torch.device(job['device']),time.perf_counter()
    plan = make_plan(job['folder']+'/model.safetensors', job['folder']+'/maps', f'{job["folder"]}/{job["n"]}', range(job['n']),
                     job['steps'], 'heun', job['device'], 'fp32', micro_batch=job['micro_batch'])
    rows = [(r.done, time.perf_counter()-began, time.process_time(), psutil.Process().memory_info().rss/2**20)
            for r in generate(plan) if r.done%plan.micro_batch==0]
    images,seconds,cpu,mib = map(list, zip(*rows, strict=True))
    return dict(images=images, seconds=seconds, cpu_seconds=cpu, mib=mib, peak_mib=peak_mib(device),
                total_seconds=time.perf_counter()-began, micro_batch=plan.micro_batch)

def slope(x:list, y:list)->float:
    "Slope of the line of least squares."
    return float(np.polyfit(x, y, 1)[0])

def line(images:list[int], seconds:list[float])->dict[str,float]:
    "A line through seconds over images, what came before the first image, and how far slope and points are off."
    b,a = (float(v) for v in np.polyfit(images, seconds, 1))
    half = len(images)//2
    halves = [slope(images[:half+1], seconds[:half+1]), slope(images[half:], seconds[half:])]
    off = np.abs(np.polyval([b, a], images)-seconds).max()
    return dict(seconds_per_image=b, start_up=a, slopes=halves, second_over_first=halves[1]/halves[0], largest_residual=float(off))

def generation(s:Setup)->dict:
    "Draw N and 4 N images, each in a fresh process that computes with one thread, as generation does."
    c,n,steps = (case('tiny'),32,2) if s.quick else (case('demo-edm'),128,10)
    runs = {}
    with tempfile.TemporaryDirectory() as folder:
        inputs(c, Path(folder))
        for k in (n, 4*n):
            job = dict(folder=folder, n=k, steps=steps, device=str(s.device), micro_batch=8)
            p = subprocess.run([sys.executable, __file__, json.dumps(job)], capture_output=True, text=True)
            if p.returncode: raise RuntimeError(f'the process that draws {k} images failed:\n{p.stderr[-2000:]}')
            r = json.loads(p.stdout)
            runs[str(k)] = r | dict(line=line(r['images'], r['seconds']), cpu_line=line(r['images'], r['cpu_seconds']))
    few,many = runs.values()
    return dict(case=c.name, steps=steps, n=[n, 4*n], runs=runs, memory_ratio=many['peak_mib']/few['peak_mib'])

if __name__=='__main__': print(json.dumps(child(json.loads(sys.argv[1]))))
