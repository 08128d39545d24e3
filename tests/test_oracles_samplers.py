"The samplers against the numbers of the reference, on a denoiser known in closed form."
import math

import pytest
import torch

from edmxl.sampling.ablation import AblationConfig, Limits, ablation_sample, course
from edmxl.sampling.noise_levels import edm_sigmas
from edmxl.sampling.steps import euler_step, heun_step, last, sample
from edmxl.sampling.stochastic import Churn, churned, image_noise

SETTINGS = ('solver','discretization','schedule','scaling','sigma_min','sigma_max','rho','epsilon_s','C_1','C_2','M','alpha')
@pytest.fixture(scope='module')
def oracle(oracles): return oracles('edm_samplers')

def close(a, b, eps=1e-9): return a.shape==b.shape and ((a-b).abs().max() <= eps*b.abs().max())

class Gaussian:
    "The oracle's denoiser; remembers at which noise levels it was asked."
    def __init__(self, tensors): self.mu, self.s, self.asked = tensors['mu'], tensors['s'], []
    def __call__(self, x, sigma):
        self.asked.append(float(sigma))
        return (self.s**2*x + sigma**2*self.mu)/(self.s**2 + sigma**2)

def stored_noise(tensors, n):
    "The draws of the oracle, step by step; None where they are not stored and not needed."
    steps = iter(tensors[f'noise/steps{n}']) if f'noise/steps{n}' in tensors else None
    return steps and (lambda x: next(steps))

def settings(run):
    churn = {k: float(v) for k,v in run['churn'].items()}
    return AblationConfig(run['num_steps'], **{k: run[k] for k in SETTINGS if k in run}, **churn)

def limits(run, tensors):
    table = tensors['round_table']
    nearest = lambda s: table[(s.reshape(-1,1)-table).abs().argmin(1)].reshape(s.shape)
    known = dict(round=nearest) if run['tag'].endswith('rounded') else {}
    return Limits(float(run['net_sigma_min']), float(run['net_sigma_max']), **known)

def tolerance(cfg):
    "1e-9; without churn σ⁻¹(σ(t)) is t but for one rounding, whose root (1e-8) comes in as noise, and CPUs round differently."
    return 1e-7 if cfg.schedule=='vp' and not cfg.S_churn else 1e-9

def test_every_run(oracle):
    tensors, about = oracle
    assert about['runs']
    for run in about['runs']:
        cfg, lim, tag, net = settings(run), limits(run, tensors), run['tag'], Gaussian(tensors)
        x = last(ablation_sample(net, tensors['latents'], cfg, stored_noise(tensors, cfg.num_steps), lim))
        c = course(cfg, lim)
        assert close(x, tensors[f'{tag}/x'], tolerance(cfg)), tag
        assert close(c.times, tensors[f'{tag}/t_steps']), tag
        if f'{tag}/sigma_steps' in tensors: assert close(c.sigmas, tensors[f'{tag}/sigma_steps']), tag
        assert close(torch.tensor(net.asked, dtype=torch.float64), tensors[f'{tag}/sigma_evals']), tag
        assert len(net.asked)==run['nfe'], tag

def test_the_draws_of_a_seed(oracle):
    tensors, about = oracle
    for k in (k for k in tensors if k.startswith('noise/steps')):
        noise, x = image_noise(about['seeds']), tensors['latents']
        assert torch.equal(noise(x), x)                                    # float32 latents first
        assert all(torch.equal(noise(x.double()), step) for step in tensors[k]), k
    drawn = [torch.randint(100, (5,), generator=torch.Generator().manual_seed(s)) for s in about['seeds']]
    assert torch.equal(torch.stack(drawn), tensors['randint100'])

@pytest.mark.parametrize('churn', ['c0','c1'])
@pytest.mark.parametrize('n', [5,18])
def test_the_plain_samplers(oracle, n, churn):
    "Heun as a fold of a step, churned or not, is EDM's sampler, from the seeds to the image."
    tensors, about = oracle
    run = next(r for r in about['runs'] if r['tag']==f'edm/n{n}/{churn}')
    noise, net, S = image_noise(about['seeds']), Gaussian(tensors), run['churn'] or dict(S_churn=0)
    x = noise(tensors['latents']).double()*80
    x = last(sample(net, x, edm_sigmas(n), churned(heun_step, n, noise, Churn(**S))))
    assert close(x, tensors[run['tag']+'/x'])

def test_convergence(oracle):
    tensors, about = oracle
    x, truth = tensors['latents'].double()*80, tensors['exact/x_from_sigma80']
    for name, step in dict(euler=euler_step, heun=heun_step).items():
        for n, error in about['convergence_max_abs_error'][name]:
            here = (last(sample(Gaussian(tensors), x, edm_sigmas(n), step)) - truth).abs().max().item()
            assert math.isclose(here, error, rel_tol=1e-5), (name, n)
