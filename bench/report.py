"""The report of a benchmark: tables in which the limit stands beside each figure."""
from plots import CAPTIONS, done, group, precision_of, shares

ASKED = {('sampling','edm-l64','ours'): 1.4, ('sampling','width-64','ours'): 1.9,
         ('training','edm-l64','ours'): 1.2, ('training','width-64','ours'): 1.45}
WAYS = dict(plain='plain path, fp32', ours='ours, fp32', bf16='ours, bf16', fp16='ours, fp16')

def table(head:str, rows:list[list])->str:
    "Markdown table; columns of `head` are separated by bars."
    names = [h.strip() for h in head.split('|')]
    lines = [names, ['---']*len(names), *([str(c) for c in r] for r in rows)]
    return '\n'.join('| ' + ' | '.join(l) + ' |' for l in lines)

def asked(what:str, case:str, path:str, machine:dict, device:str)->str:
    "Figure that the project asks for, if any."
    if path=='bf16' and what=='sampling' and device=='cpu': return '3.5' if machine['amx'] else '(3.5 with AMX)'
    return str(ASKED.get((what, case, path), ''))

def limit_of(r:dict, path:str, peak:dict|None)->float|None:
    "Limit by FLOPs; in half precision times the ratio of the measured peaks."
    half = precision_of(path)
    return r['limit'] if half=='fp32' else r['limit']*peak[half]/peak['fp32'] if peak and half in peak else None

def _number(x:float|None, form:str)->str: return '' if x is None else format(x, form)

def speed_rows(results:dict, what:str, machine:dict, device:str)->list[list]:
    "One line for each case and path."
    rows,peak = [],results.get('peak', {}).get('flops')
    for case,r in group(results, what).items():
        for k,t in r['seconds'].items():
            line = [case, r['batch'], WAYS[k], f'{t:.3g}']
            if k=='plain': rows.append([*line, '1', '', '', '', '', '']); continue
            limit = limit_of(r, k, peak)
            reached = '' if limit is None else f'{100*r["speedup"][k]/limit:.0f} %'
            if what=='sampling': errors = [f'{r["difference_evaluation"][k]:.1e}', f'{r["difference_sample"][k]:.1e}']
            else: errors = [_number(r['difference_gradient'].get(k), '.1e'), _number(r['error_gradient'].get(k), '.1e')]
            faster,most = f'**{r["speedup"][k]:.2f}**',f'**{_number(limit, ".2f")}**' if limit else ''
            rows.append([*line, faster, most, reached, asked(what, case, k, machine, device), *errors])
    return rows

SPEED_HEAD = 'case | batch | path | s | times faster | limit | reached | asked | '

def _sampling(results, machine, device)->str:
    return ('## Drawing\nThe whole sampler: 18 steps of Heun, distinct label maps, binding included. Limit: FLOPs of the plain path '
            'over those of the network alone; in half precision times the ratio of the measured peaks.\n\n'
            + table(SPEED_HEAD + 'difference, one evaluation | difference, sample', speed_rows(results, 'sampling', machine, device))
            + '\n\nDifferences: largest, relative to the largest entry of the plain path\'s answer. In a sample, those of all evaluations '
            'follow one another through a network with random numbers.')

def _training(results, machine, device)->str:
    return ('## A training step\nLoss of the preset, forward, backward, fused Adam; distinct maps, nothing bound beforehand. (On a CPU the '
            'large preset takes plain gradient descent instead of Adam: two sets of moments would not fit.)\n\n'
            + table(SPEED_HEAD + 'difference, gradient | error, gradient as one vector', speed_rows(results, 'training', machine, device))
            + '\n\nDifference: the largest over all parameters, relative to the largest entry of each; without dropout. '
            'Error: length of the difference of the whole gradient over its length.')

def _seeds(results, *_)->str:
    rows = []
    for case,r in group(results, 'seeds').items():
        t,cost = r['seconds'],lambda k,r=r: f'{100*r["left"][k]:+.1f} %'
        ms = [f'{1e3*t[k]:.1f}' for k in ('network', 'one_map', 'distinct_maps', 'plain', 'bind_1', f'bind_{r["batch"]}')]
        left = [f'**{cost("one_map")}**', '**0 %**', '< 10 %', cost('distinct_maps'), cost('plain')]
        rows.append([case, r['batch'], *ms[:4], *left, *ms[4:]])
    return ('## Seeds of one map: what is left of SPADE\nMilliseconds of one evaluation in fp32, the condition bound, against the network '
            'without conditioning.\n\n'
            + table('case | seeds | network alone | one map | distinct maps | plain path | left, one map | limit | asked | '
                    'left, distinct maps | SPADE of the plain path | bind one map | bind all', rows))

def _peak(results, *_)->str:
    top = results['peak']['flops']
    lines = [[k, f'{v/1e9:,.0f}'] for k,v in top.items()]
    n = results['peak']['n']
    text = f'## Share of the peak\nProducts of two {n} x {n} matrices:\n\n' + table('precision | GFLOP/s', lines)
    rows = []
    for case,what,s in shares(results):
        r = group(results, what)[case]
        for k,v in s.items():
            work = done(r, k)/1e9
            rows.append([case, what, WAYS[k], f'{work:,.4g}', f'{work/r["seconds"][k]:,.4g}', f'**{100*v:.0f} %**', '**100 %**'])
    head = 'case | what | path | GFLOP done | GFLOP/s | share of the peak of its precision | limit'
    return text + '\n\n' + table(head, rows) if rows else text

def _memory(results, *_)->str:
    rows = [[case, WAYS[path], *(f'{m[k]:,.0f}' for k in ('built','evaluation','training'))]
            for case,r in group(results, 'memory').items() for path,m in r['mib'].items()]
    sizes = '; '.join(f'{c}: {r["batch"]} and {r["batch_training"]}' for c,r in group(results, 'memory').items())
    return ('## Peak memory\nMiB, each path in a process of its own: once built, after one evaluation, after one training step '
            f'(images: {sizes}).\n\n'
            + table('case | path | built | evaluation | training step', rows))

def _condition(results, *_)->str:
    r = results['condition']
    if 'failed' in r: return ''
    share = f'{100*r["mib"]/r["full_mib"]:.1f} %'
    row = [f'**{r["mib"]:.0f}**', f'{r["largest_mib"]:.0f}', '**400**', f'{r["full_mib"]:,.0f}', share, f'{r["together_mib"]:.0f}']
    return (f'## The condition of a bound denoiser\n`{r["case"]}`, fp32, mean over {r["maps"]} distinct maps; the limit is that '
            'of the task, full maps what caching scale and shift of every pixel would take.\n\n'
            + table('MiB per map | largest | limit | full maps | share | all maps bound together, per map', [row])
            + f'\n\nComputed for real once: {r["computed_mib"]:.1f} MiB, counted for the same map: {r["counted_first_mib"]:.1f}.')

def _scaling(results, *_)->str:
    r = results['scaling']
    if 'failed' in r: return ''
    times = lambda row: [f'{row["plain"]/row[k]:.2f}' for k in ('ours','network')]
    rows = [[what, row[what], *(f'{1e3*row[k]:.1f}' for k in ('plain','ours','network')), *times(row)]
            for what in ('batch','resolution','seeds') for row in r[what]]
    return (f'## Scaling\n`{r["case"]}`, fp32, milliseconds per image of one bound evaluation. Limit: the network alone, by time.\n\n'
            + table('over | value | plain path | ours | network alone | times faster | limit', rows))

def _spade(results, *_)->str:
    r = results['spade']
    if 'failed' in r: return ''
    ways = ('convolutions forward', 'table forward', 'ready forward', 'convolutions both', 'table both', 'maps both')
    rows = []
    for q in r['rows']:
        ms,shape = q['ms'],f'{q["batch"]} x {q["size"]} x {q["size"]}, C {q["channels"]}'
        rows.append([shape, f'{q["rows"]:,} ({100*q["rows"]/q["pixels"]:.1f} %)', f'{ms["index"]:.3g}', *(f'{ms[k]:.3g}' for k in ways),
                     f'{ms["chosen both"]:.3g} ({q["chosen"]})', f'{ms["convolutions both"]/ms["chosen both"]:.2f}'])
    return ('## One SPADE\nMilliseconds. "Index" finds the neighbourhoods, once per resolution, and is not in the other columns; "ready" '
            'reads a table that is bound; "maps" are our convolutions after a table of hidden activations.\n\n'
            + table('shape | distinct neighbourhoods | index | convolutions | table | ready | convolutions, with gradients | table | '
                    'maps | chosen | times faster', rows))

def _generation(results, *_)->str:
    r = results['generation']
    if 'failed' in r: return ''
    rows = []
    for n,run in r['runs'].items():
        l,cpu = run['line'],run['cpu_line']
        slopes = [f'**{100*(q["second_over_first"]-1):+.1f} %**' for q in (l, cpu)]
        rows.append([n, f'{l["start_up"]:.1f}', f'{1e3*l["seconds_per_image"]:.1f}', *slopes, '5 %',
                     f'{l["largest_residual"]:.2f}', f'{run["peak_mib"]:.0f}'])
    return (f'## Generation\n`{r["case"]}`, {r["steps"]} steps of Heun, fp32, one process with one thread, micro-batches of '
            f'{run["micro_batch"]}, each line a fresh process. Seconds over images are fitted by a line; the slope of its second half is '
            'compared with that of the first, by the clock and by processor time (which other work on the machine disturbs less).\n\n'
            + table('images | start-up, s | ms per image | slope, second half against first | the same, processor time | asked | '
                    'largest distance from the line, s | peak MiB', rows)
            + f'\n\nPeak memory for four times the images: **{100*(r["memory_ratio"]-1):+.1f} %** (asked: flat).')

def _loader(results, *_)->str:
    r = results['loader']
    if 'failed' in r: return ''
    rows = [[k, f'{v:.0f}', f'**{r["times_faster"][k]:.1f}**' if k in r['times_faster'] else '', '10' if k in r['times_faster'] else '',
             f'{r["kb_per_image"][k]:.0f}' if k in r['kb_per_image'] else ''] for k,v in r['images_per_second'].items()]
    return (f'## Data feeding\n{r["images"]} phantoms of {r["size"]} x {r["size"]}, batches of {r["batch"]}, one epoch a round, '
            "files in the page cache. The reference's way decodes one PNG image and one PNG label map an item and makes the map "
            'one-hot in float32.\n\n'
            + table('way | images a second | memory-mapped is faster, times | asked | kB a sample', rows))

def _steps(results, *_)->str:
    r = results['steps']
    if 'failed' in r: return ''
    more = 100*(r['late_mib']/r['early_mib']-1)
    return (f'## A long training\n{r["steps"][-1]} steps of `{r["case"]}` in one process, with validations, checkpoints and snapshots. '
            f'Resident memory after a tenth of the steps {r["early_mib"]:.0f} MiB, at the end {r["late_mib"]:.0f} MiB: '
            f'**{more:+.1f} %** (asked: flat).')

SECTIONS = dict(sampling=_sampling, training=_training, seeds=_seeds, peak=_peak, memory=_memory, condition=_condition, scaling=_scaling,
                spade=_spade, loader=_loader, steps=_steps, generation=_generation)
FIGURE = dict(sampling='speedup', peak='peak', scaling='scaling', spade='spade', generation='generation')

def _about(config:dict, m:dict)->str:
    yes = lambda b: 'yes' if b else 'no'
    where = f'{m["device_name"]} ({config["device"]}), {m["cpu"]}, {config["threads"]} threads, torch {config["torch"]}'
    text = (f'# edmxl bench\n{where}, {m["date"]}, commit `{m["commit"]}`. AMX: {yes(m["amx"])}, AVX512-BF16: {yes(m["avx512_bf16"])}. '
            f'Medians of {config["rounds"]} rounds, paths in turn in each. Label maps: {config["maps"] or "built-in phantoms"}.')
    return text + ' Quick run of tiny networks: no figure means anything.'*config['quick']

def report(
    config:dict,        # how it was measured
    machine:dict,       # where
    results:dict,       # every measurement by name
    figures:list[str],  # names of the pictures that there are
)->str:                 # markdown
    "The report in markdown."
    parts = [_about(config, machine)]
    for name,section in SECTIONS.items():
        if not any(k.split()[0]==name for k in results): continue
        if text := section(results, machine, config['device']): parts.append(text)
        if (f := FIGURE.get(name)) in figures: parts.append(f'![{CAPTIONS[f]}]({f}.png)\n\n*{CAPTIONS[f]}*')
    failed = [f'- {k}: {r["failed"]}' for k,r in results.items() if 'failed' in r]
    if failed: parts.append('## Not measured\n' + '\n'.join(failed))
    return '\n\n'.join(parts) + '\n'
