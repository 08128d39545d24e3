"""`edmxl bench`: ours against the plain path, side by side in one run. Every measurement is kept as soon as it is done."""
import argparse
import gc
import platform
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
import torch

from cases import case, default_cases, label_maps
from edmxl.data.files import BadInput, read_json, whole_file, write_json
from edmxl.models.precision import pick_device
from plots import figures
from report import report
from speed import Setup, measurements

SCHEMA = 1

def arguments(argv:list[str])->argparse.Namespace:
    "What the user asks for."
    p = argparse.ArgumentParser(prog='edmxl bench', description='Measure speed and memory against the plain path, side by side.')
    p.add_argument('--out', '-o', type=Path, default=Path('out/bench'), help='folder for bench.json, report.md and figures')
    p.add_argument('--device', default='auto', help='auto, cpu or cuda')
    p.add_argument('--rounds', type=int, default=3, help='rounds of which medians are taken')
    p.add_argument('--quick', action='store_true', help='tiny networks: seconds instead of an hour, no figure means anything')
    p.add_argument('--maps', help='echo dataset that gives the label maps; built-in phantoms without')
    p.add_argument('--only', default='', help='names of measurements, for example sampling,training or "sampling width-64"')
    p.add_argument('--cases', default='', help='networks: width-64, edm-l64 or other presets; the first serves for scaling')
    p.add_argument('--fresh', action='store_true', help='forget what an earlier run measured')
    return p.parse_args(argv)

def git(*words:str)->str:
    "Answer of git for this folder, or nothing."
    try: return subprocess.run(['git', *words], cwd=Path(__file__).parent, capture_output=True, text=True).stdout.strip()
    except OSError: return ''

def cpu_model()->str:
    "Name of the processor."
    info = Path('/proc/cpuinfo')
    names = [l.split(':', 1)[1].strip() for l in info.read_text().splitlines() if l.startswith('model name')] if info.exists() else []
    return names[0] if names else platform.processor() or platform.machine()

def machine(device:torch.device)->dict:
    "Where the measurements are made."
    commit = git('rev-parse', 'HEAD')
    changed = '+changes' if commit and git('status', '--porcelain', '--', '../edmxl', '.') else ''
    return dict(system=platform.platform(), cpu=cpu_model(), cores=torch.get_num_threads(), python=platform.python_version(),
                device_name=torch.cuda.get_device_name(device) if device.type=='cuda' else cpu_model(), cuda=torch.version.cuda,
                amx=torch.cpu._is_amx_tile_supported(), avx512_bf16=torch.cpu._is_avx512_bf16_supported(),
                commit=(commit or 'unknown')+changed, date=time.strftime('%Y-%m-%d %H:%M:%S %z'))

def earlier(
    path:Path,    # `bench.json`
    config:dict,  # of this run
)->dict:          # results to keep
    "What an earlier run of the same configuration measured; raises `BadInput` where it was another."
    if not path.exists(): return {}
    old = read_json(path, 'benchmark')
    if not isinstance(old, dict) or old.get('schema')!=SCHEMA or old.get('config')!=config:
        raise BadInput(f'{path} is of another configuration. Choose another --out, or pass --fresh to measure anew.')
    return {k: r for k,r in old['results'].items() if 'failed' not in r}

def chosen(names:list[str], only:str)->list[str]:
    "Measurements that were asked for; raises `BadInput`."
    words = [w.strip() for w in only.split(',') if w.strip()]
    known = {*names, *(n.split()[0] for n in names)}
    for w in words:
        if w not in known: raise BadInput(f'unknown measurement "{w}": expected one of {", ".join(sorted(known))}.')
    return [n for n in names if not words or n in words or n.split()[0] in words]

def measured(fn, device:torch.device)->dict:
    "A measurement, or why there is none: only a lack of GPU memory is forgiven."
    try: return fn()
    except torch.OutOfMemoryError as e: return dict(failed=str(e).split('. ')[0])
    finally:
        gc.collect()
        if device.type=='cuda': torch.cuda.empty_cache(); torch.cuda.reset_peak_memory_stats()

def exact_fp32():
    "No TF32 anywhere: fp32 means fp32 on both paths."
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.backends.cudnn.benchmark = True

def write(out:Path, config:dict, facts:dict, results:dict):
    "`bench.json`, figures and `report.md`, each whole or not at all."
    write_json(out/'bench.json', dict(schema=SCHEMA, config=config, machine=facts, results=results))
    with whole_file(out/'report.md') as p: p.write_text(report(config, facts, results, figures(results, out)))

def bench(a:argparse.Namespace):
    "Measure what was asked for and not measured yet."
    device = pick_device(a.device)
    if a.rounds<1: raise BadInput(f'--rounds is {a.rounds}: expected at least 1.')
    names = [n.strip() for n in a.cases.split(',') if n.strip()] or default_cases(device, a.quick)
    for n in names: case(n)
    if a.maps: label_maps(2 if a.quick else 8, 0, a.maps)
    exact_fp32()
    config = dict(device=str(device), rounds=a.rounds, quick=a.quick, maps=str(Path(a.maps).resolve()) if a.maps else None,
                  cases=names, threads=torch.get_num_threads(), torch=torch.__version__)
    facts,results = machine(device),{} if a.fresh else earlier(a.out/'bench.json', config)
    todo = measurements(Setup(device, a.rounds, a.quick, a.maps), names)
    for k in chosen(list(todo), a.only):
        if k in results: print(f'{k}: kept', flush=True); continue
        start = time.monotonic()
        print(f'{k} ...', end=' ', flush=True)
        results[k] = measured(todo[k], device) | dict(date=time.strftime('%Y-%m-%d %H:%M:%S %z'), commit=facts['commit'])
        write_json(a.out/'bench.json', dict(schema=SCHEMA, config=config, machine=facts, results=results))
        print(f'{time.monotonic()-start:.0f} s', flush=True)
    write(a.out, config, facts, {k: results[k] for k in todo if k in results})
    print(f'{a.out}/report.md', flush=True)

def main(argv:list[str])->int:
    "Run the benchmark; the exit code."
    try: bench(arguments(argv))
    except BadInput as e:
        print(f'edmxl bench: {e}', file=sys.stderr)
        return 2
    return 0

if __name__=='__main__': sys.exit(main(sys.argv[1:]))
