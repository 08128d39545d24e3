"""Networks, preconditioning and losses against stored numbers of the published implementations, gradients included."""
import pytest
import torch
from itertools import repeat

from edmxl.models.blocks import Block, Conv, FourierEmbedding, Norm, PositionalEmbedding
from edmxl.models.neighbourhoods import neighbourhoods
from edmxl.models.reference import from_reference
from edmxl.models.spade import SPADE
from edmxl.training.losses import LOSSES

NETWORKS = ('edm_adm_augment', 'edm_adm_class', 'edm_adm_uncond', 'edm_ddpmpp_class', 'edm_ddpmpp_skip', 'edm_ddpmpp_uncond',
            'edm_ncsnpp_class', 'edm_ncsnpp_uncond', 'edmlx_adm_class_semantic', 'edmlx_adm_semantic', 'edmlx_ddpmpp_semantic',
            'edmlx_ncsnpp_semantic')

def close(got, want, tolerance):
    assert got.shape==want.shape
    worst = ((got-want).abs().max()/want.abs().max()).item()
    assert worst < tolerance, f'relative difference {worst:.1e}, allowed {tolerance:.0e}'

def parameters(t): return {k[6:]: v.float() for k,v in t.items() if k.startswith('param.')}
def conditions(t):
    return dict(label_map=t.get('in.labelmap'), class_labels=t.get('in.class_labels'), augment_labels=t.get('in.augment_labels'))
def tolerance(name): return 5e-5 if 'ncsnpp' in name else 1e-5

@pytest.mark.parametrize('name', NETWORKS)
def test_values(oracles, name):
    t,about = oracles(name)
    given = conditions(t)
    for precond in about['preconds']:
        d = from_reference(parameters(t), about | dict(precond=precond))
        with torch.no_grad():
            close(d(t['in.x_noisy'], t['in.sigma'], **given), t[f'out.D_{precond}'], tolerance(name))
            if f'out.D_{precond}_nolabel' in t:
                close(d(t['in.x_noisy'], t['in.sigma'], **given | dict(class_labels=None)), t[f'out.D_{precond}_nolabel'], tolerance(name))
            bound = d.bind(given['label_map'], given['class_labels'])
            if given['augment_labels'] is None: close(bound(t['in.x_noisy'], t['in.sigma']), t[f'out.D_{precond}'], tolerance(name))
    with torch.no_grad():
        close(d.net(t['in.x'], t['in.noise_labels'], **given), t['out.F'], tolerance(name))
        if 'out.F_noaug' in t:
            close(d.net(t['in.x'], t['in.noise_labels'], **given | dict(augment_labels=None)), t['out.F_noaug'], tolerance(name))

@pytest.mark.parametrize('name', [n for n in NETWORKS if n not in ('edm_adm_augment', 'edm_ddpmpp_skip')])
@pytest.mark.parametrize('precond', ('VP', 'VE', 'EDM'))
def test_losses_and_gradients(oracles, name, precond):
    t,about = oracles(name)
    d,given = from_reference(parameters(t), about | dict(precond=precond)),conditions(t)
    sigma,y,loss = t[f'loss.{precond}.sigma'].flatten(),t['in.loss_y'],LOSSES[precond.lower()]()
    noisy = t[f'loss.{precond}.noisy']                                        # as stored: y plus noise would round once more
    value = loss.pixels(lambda x,s: d(noisy, s, **given), y, sigma, torch.zeros_like(y))
    close(value.detach(), t[f'loss.{precond}.value'], tolerance(name))
    value.sum().backward()
    want = about['loss'][precond]['grad_norms']
    got = {k: p.grad.norm().item() for k,p in d.net.named_parameters()}
    assert set(got)==set(want)
    for k,v in want.items(): assert abs(got[k]-v) < 1e-4*max(v, 1e-3*max(want.values())), f'{k}: {got[k]} instead of {v}'

@pytest.mark.parametrize('name', ('edm_iddpm_adm', 'edmlx_iddpm_adm_semantic'))
def test_iddpm(oracles, name):
    t,about = oracles(name)
    d = from_reference(parameters(t), about | dict(precond='iDDPM'))
    with torch.no_grad(): close(d(t['in.x_noisy'], t['in.sigma'], label_map=t.get('in.labelmap')), t['out.D_iDDPM'], 1e-5)
    close(d.scaling.levels, t['table.u'], 1e-6)
    close(d.scaling.round(t['round.in']), t['round.out'], 1e-6)
    assert (d.scaling.index(t['round.in'])==t['round.index']).all()
    assert d.scaling.sigma_min==pytest.approx(about['sigma_min'], rel=1e-6)
    assert d.scaling.sigma_max==pytest.approx(about['sigma_max'], rel=1e-6)

@pytest.mark.parametrize('name', ('edm_adm_uncond', 'edm_adm_class'))
def test_range_of_levels(oracles, name):
    t,about = oracles(name)
    for precond,said in about['preconds'].items():
        scaling = from_reference(parameters(t), about | dict(precond=precond)).scaling
        assert scaling.sigma_min==pytest.approx(float(said['sigma_min']), rel=1e-4)
        assert scaling.sigma_max==pytest.approx(float(said['sigma_max']), rel=1e-6)

def unit(tag:str, c:dict, given:dict):
    "Module of a stored unit and its answer to the stored input."
    labels = c.get('label_nc')
    if tag.startswith('conv'):
        change = 'up' if c['up'] else 'down' if c['down'] else ''
        conv = Conv(c['in_channels'], c['out_channels'], c['kernel'], change, c['resample_filter'], c['fused_resample'])
        return conv,lambda m: m(given['in.x'])
    if tag.startswith('posemb'): return PositionalEmbedding(c['num_channels'], c['endpoint']),lambda m: m(given['in.x'])
    if tag=='fourier': return FourierEmbedding(c['num_channels']),lambda m: m(given['in.x'])
    if tag=='groupnorm': return Norm(c['num_channels'], c['eps']),lambda m: m(given['in.x'])
    if tag.startswith('spade'):
        return SPADE(c['norm_nc'], labels),lambda m: m(given['in.x'], m.modulation(around(given, labels, 1)))
    norm = (lambda n: SPADE(n, labels)) if labels else (lambda n: Norm(n, c.get('eps', 1e-5)))
    heads = (c.get('num_heads') or c['out_channels']//c.get('channels_per_head', 64))*bool(c.get('attention'))
    change = 'up' if c.get('up') else 'down' if c.get('down') else ''
    block = Block(c['in_channels'], c['out_channels'], c['emb_channels'], norm, change, heads, c['dropout'], c.get('adaptive_scale', True),
        c.get('skip_scale', 1.), c.get('resample_filter', (1,1)), c.get('resample_proj', False))
    factor = dict(up=2, down=.5).get(change, 1)
    def run(m):
        mods = repeat(None)
        if labels: mods = iter([m.norm0.modulation(around(given, labels, 1)), *(n.modulation(around(given, labels, factor))
                                for n in (m.norm1, getattr(m, 'norm2', None)) if n is not None)])
        return m(given['in.x'], given['in.emb'], mods)
    return block,run

def around(given, n_labels, factor):
    maps = next(v for k,v in given.items() if 'label' in k)
    return neighbourhoods(maps, n_labels, [int(s*factor) for s in given['in.x'].shape[-2:]])

@pytest.mark.parametrize('name', ('edm_units', 'edmlx_units'))
def test_units(oracles, name):
    t,about = oracles(name)
    for tag,c in about['config'].items():
        given = {k[len(tag)+1:]: v for k,v in t.items() if k.startswith(tag+'/')}
        module,run = unit(tag, c, given)
        module.load_state_dict({k[6:]: v.float() for k,v in given.items() if k.startswith('param.') and 'resample_filter' not in k})
        with torch.no_grad(): close(run(module.eval()), given['out'], 1e-6)

@pytest.mark.parametrize('name', ('edm_losses', 'edmlx_losses'))
def test_losses(oracles, name):
    t,about = oracles(name)
    denoise = lambda x,s: (.4**2*x + s.view(-1,1,1,1)**2*.1)/(.4**2 + s.view(-1,1,1,1)**2)
    for tag,constants in about['kwargs'].items():
        loss = LOSSES[tag.split('_')[0].lower()](**constants)
        sigma = loss.sigmas(t[f'{tag}.rng_first'].flatten())
        close(sigma, t[f'{tag}.sigma'].flatten(), 1e-6)
        y,noise = t[f'{tag}.y'],t[f'{tag}.rng_noise']
        close(y + sigma.view(-1,1,1,1)*noise, t[f'{tag}.noisy'], 1e-6)
        close(loss.weight(sigma), t[f'{tag}.weight'].flatten(), 1e-5)
        pixels = loss.pixels(denoise, y, sigma, noise)
        close(pixels, t[f'{tag}.loss'], 1e-5)
        close(loss(denoise, y, sigma, noise), t[f'{tag}.loss'].flatten(1).mean(1), 1e-5)
