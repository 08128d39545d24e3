"""Figures of a benchmark, from its results alone."""
from pathlib import Path

import matplotlib

matplotlib.use('agg')
import matplotlib.pyplot as plt

from edmxl.data.files import whole_file

COLOUR = dict(plain='#9ca3af', network='#111827', ours='#2b6cb0', bf16='#d97706', fp16='#2f855a',
              convolutions='#9ca3af', table='#2b6cb0', maps='#7dd3fc', ready='#2f855a', chosen='#d97706')
NAME = dict(plain='plain path', network='network alone', ours='ours, fp32', bf16='ours, bf16', fp16='ours, fp16')

def group(results:dict, what:str)->dict[str,dict]:
    "Results of one kind by case; without those that failed."
    return {k.split()[1]: r for k,r in results.items() if k.split()[0]==what and ' ' in k and 'failed' not in r}

def _save(fig, path:Path):
    with whole_file(path) as p: fig.savefig(p, dpi=130, bbox_inches='tight', format='png')
    plt.close(fig)

def _bars(ax, groups:list[str], values:dict[str,list], width:float=.8, fmt:str='{:.2f}'):
    "Bars side by side; a value of None is left out."
    w = width/len(values)
    for i,(k,v) in enumerate(values.items()):
        there = [(x + (i - (len(values)-1)/2)*w, y) for x,y in enumerate(v) if y is not None]
        if not there: continue
        bars = ax.bar(*zip(*there, strict=True), w*.94, color=COLOUR[k], label=NAME.get(k, k))
        ax.bar_label(bars, [fmt.format(y) for _,y in there], fontsize=7, padding=1)
    ax.set_xticks(range(len(groups)), groups, fontsize=8)
    ax.spines[['top','right']].set_visible(False)

def _plain_numbers(ax):
    "No powers of ten on the axis of milliseconds."
    ax.yaxis.set_major_formatter('{x:g}')
    ax.yaxis.set_minor_formatter('')

def speedup(results:dict, path:Path):
    "Speed-up of drawing and training over the plain path, with the limit by FLOPs as a line."
    rows = [(f'{case}\n{what}', r) for what in ('sampling','training') for case,r in group(results, what).items()]
    kinds = [k for k in ('ours','bf16','fp16') if any(k in r['speedup'] for _,r in rows)]
    fig,ax = plt.subplots(figsize=(max(4.5, 1.5*len(rows)+1), 3.4))
    _bars(ax, [n for n,_ in rows], {k: [r['speedup'].get(k) for _,r in rows] for k in kinds})
    for i,(_,r) in enumerate(rows):
        ax.hlines(r['limit'], i-.42, i+.42, color='k', lw=1.4, label='limit by FLOPs, fp32' if i==0 else None)
        ax.text(i+.43, r['limit'], f'{r["limit"]:.2f}', fontsize=7, va='center')
    ax.axhline(1, color=COLOUR['plain'], lw=1)
    ax.set(ylabel='times faster than the plain path', title='One run, side by side', ylim=(0, None))
    ax.legend(fontsize=7, frameon=False, loc='upper left', bbox_to_anchor=(1.02, 1))
    _save(fig, path)

def scaling(results:dict, path:Path):
    "Seconds per image of one evaluation over batch, resolution and seeds of one map."
    r = results['scaling']
    fig,axes = plt.subplots(1, 3, figsize=(10.5, 3.1), layout='constrained')
    for ax,what,label in zip(axes, ('batch','resolution','seeds'),
                             ('images in a batch, each its own map', 'pixels per side, one image', 'seeds of one map'), strict=True):
        x = [row[what] for row in r[what]]
        for k in ('plain','ours','network'): ax.plot(x, [1e3*row[k] for row in r[what]], 'o-', color=COLOUR[k], label=NAME[k], ms=4)
        ax.set(xscale='log', xlabel=label, yscale='log' if what=='resolution' else 'linear')
        ax.set_xticks(x, [str(v) for v in x]); ax.xaxis.minorticks_off(); _plain_numbers(ax)
        if what!='resolution': ax.set_ylim(0, None)
        ax.spines[['top','right']].set_visible(False)
    axes[0].set_ylabel('ms per image and evaluation')
    axes[0].legend(fontsize=7, frameon=False)
    fig.suptitle(f'{r["case"]}: one evaluation with its condition bound', fontsize=10)
    _save(fig, path)

def precision_of(path:str)->str: return path if path in ('bf16','fp16') else 'fp32'

def done(r:dict, k:str)->float:
    "Operations of a path; a half precision does those of fp32."
    return r['flop']['ours' if k in ('bf16','fp16') else k]

def shares(results:dict)->list[tuple[str,str,dict[str,float]]]:
    "Case, kind and share of the measured matrix-product peak that each path reaches."
    if 'peak' not in results: return []
    top = results['peak']['flops']
    return [(case, what, {k: done(r, k)/t/top[precision_of(k)] for k,t in r['seconds'].items()})
            for what in ('sampling','training') for case,r in group(results, what).items()]

def peak(results:dict, path:Path):
    "Achieved FLOP/s as a share of the measured peak of matrix products in the same precision."
    rows = shares(results)
    kinds = [k for k in ('plain','ours','bf16','fp16') if any(k in s for *_,s in rows)]
    fig,ax = plt.subplots(figsize=(max(4.5, 1.5*len(rows)+1), 3))
    _bars(ax, [f'{c}\n{w}' for c,w,_ in rows], {k: [100*s[k] if k in s else None for *_,s in rows] for k in kinds}, fmt='{:.0f}')
    ax.set(ylabel='% of measured peak', ylim=(0, None), title='Operations really done, per second')
    ax.axhline(100, color='k', lw=1.4, label='limit')
    ax.legend(fontsize=7, frameon=False, loc='upper left', bbox_to_anchor=(1.02, 1))
    _save(fig, path)

def spade(results:dict, path:Path):
    "Milliseconds of one SPADE for the shapes of the networks."
    rows = results['spade']['rows']
    names = [f'{r["batch"]} x {r["size"]}²\nC {r["channels"]}' for r in rows]
    fig,axes = plt.subplots(2, 1, figsize=(9, 5.4), layout='constrained')
    ways = (('convolutions','table','ready'), ('convolutions','table','maps','chosen'))
    for ax,what,kinds in zip(axes, ('forward','both'), ways, strict=True):
        _bars(ax, names, {k: [r['ms'][f'{k} {what}'] for r in rows] for k in kinds}, fmt='{:.3g}')
        ax.set(yscale='log', ylabel='ms', title=dict(forward='forward', both='forward and backward')[what])
        _plain_numbers(ax)
        ax.legend(fontsize=7, frameon=False, loc='upper left', bbox_to_anchor=(1.01, 1))
    _save(fig, path)

def generation(results:dict, path:Path):
    "Seconds and resident memory over the number of images, in two processes of which one draws four times as many."
    r = results['generation']
    fig,(left,right) = plt.subplots(1, 2, figsize=(8.5, 3), layout='constrained')
    for (n,run),color in zip(r['runs'].items(), (COLOUR['bf16'], COLOUR['ours']), strict=True):
        l = run['line']
        left.plot(run['images'], run['seconds'], '.', color=color, ms=4, label=f'{n} images')
        left.plot([0, run['images'][-1]], [l['start_up'], l['start_up']+l['seconds_per_image']*run['images'][-1]], color=color, lw=.8)
        right.plot(run['images'], run['mib'], '.-', color=color, ms=3, lw=.8, label=f'{n} images')
    left.set(xlabel='images drawn', ylabel='seconds', xlim=(0, None), ylim=(0, None), title=f'{r["case"]}: time')
    right.set(xlabel='images drawn', ylabel='resident MiB', xlim=(0, None), title='memory')
    for ax in (left, right): ax.spines[['top','right']].set_visible(False)
    right.set_ylim(0, 1.3*max(max(run['mib']) for run in r['runs'].values()))
    left.legend(fontsize=7, frameon=False)
    _save(fig, path)

CAPTIONS = dict(
    speedup='Bars: how many times faster than the plain path drawing (18 Heun steps) and a training step are. Lines: limit by FLOPs.',
    scaling='Milliseconds per image of one bound evaluation over batch, resolution and seeds of one map: plain path, ours, network alone.',
    peak='Bars: achieved FLOP/s in per cent of the matrix-product peak measured in the same run and precision.',
    generation='Points: seconds since the start (left) and resident memory (right) after each micro-batch, in two processes of which one '
               'draws four times as many images. Lines: least squares.',
    spade='Bars on a logarithmic axis: milliseconds of one SPADE by convolutions, by table, and as chosen, for seven shapes.')

def figures(results:dict, out:Path)->list[str]:
    "Draw all that there are results for; names of the figures."
    timed = bool(group(results, 'sampling') or group(results, 'training'))
    there = dict(speedup=timed, scaling='batch' in results.get('scaling', {}), peak=timed and 'peak' in results,
                 spade='rows' in results.get('spade', {}), generation='runs' in results.get('generation', {}))
    for name in there:
        if there[name]: globals()[name](results, out/f'{name}.png')
    return [n for n,ok in there.items() if ok]
