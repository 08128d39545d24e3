"""Our solvers against the schedulers of diffusers: the same noise levels, the same closed-form denoiser, the same noise.

Their tables of noise levels are float32 and come from training schedules; each scheduler is handed ours, in float64 where it lets them
be, so that only the rules of the steps are compared. Not compared: churn (EDMEulerScheduler adds its noise after the network was asked
about the point without it, so its step is not that of Karras et al., Alg. 2)."""
import pytest
import torch

from edmxl.sampling.exact_denoisers import Mixture
from edmxl.sampling.noise_levels import edm_sigmas
from edmxl.sampling.solvers import SOLVERS, image_noise, last

diffusers = pytest.importorskip('diffusers')

f64 = torch.float64
PAIR = Mixture(torch.tensor([[-1., .4], [.8, 0.]], dtype=f64), torch.tensor([.15, .3], dtype=f64), torch.tensor([.4, .6], dtype=f64))

def ours(name, x, sigmas, noise=None): return list(SOLVERS[name].run(PAIR, x, sigmas, noise))

def theirs(scheduler, x, sigmas, answer, **kw):
    "Walk a scheduler down our noise levels; `answer(x, sigma)` is what it takes from a network."
    scheduler.set_timesteps(len(sigmas)-1)
    scheduler.set_begin_index(0)
    doubled = torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]])
    scheduler.sigmas = doubled if len(scheduler.timesteps)==len(doubled)-1>len(sigmas)-1 else sigmas
    states = []
    for i, t in enumerate(scheduler.timesteps):
        scheduler.scale_model_input(x, t)
        x = scheduler.step(answer(x, scheduler.sigmas[i]), t, x, **kw).prev_sample
        states.append(x)
    return states

def raw(x, sigma):
    "Raw network whose EDM-preconditioned output is our denoiser's (σ_data = 0.5)."
    return (PAIR(x, sigma) - .25/(sigma**2 + .25)*x)/(sigma*.5/(sigma**2 + .25).sqrt())

def start(n=6): return 80*torch.randn(n, 2, generator=torch.Generator().manual_seed(0), dtype=f64)

@pytest.mark.parametrize('n', [1, 2, 5, 18])
def test_euler(n):
    "Their state is float32."
    them = theirs(diffusers.EDMEulerScheduler(), start(), edm_sigmas(n), raw)
    for a, b in zip(ours('euler', start(), edm_sigmas(n)), them, strict=True): assert torch.allclose(a, b, rtol=1e-5, atol=1e-5)

@pytest.mark.parametrize('n', [2, 5, 18])
def test_heun(n):
    "One of theirs is half a step of ours."
    them = theirs(diffusers.HeunDiscreteScheduler(prediction_type='sample'), start(), edm_sigmas(n), PAIR)
    us = ours('heun', start(), edm_sigmas(n))
    for a, b in zip(us, [*them[1:-1:2], them[-1]], strict=True): assert torch.allclose(a, b, rtol=1e-10, atol=1e-10)

@pytest.mark.parametrize('n', [2, 5, 18])
def test_dpmpp_2m(n):
    "Both take their last step, to level 0, with first order."
    scheduler = diffusers.EDMDPMSolverMultistepScheduler(solver_order=2, algorithm_type='dpmsolver++', final_sigmas_type='zero')
    them = theirs(scheduler, start(), edm_sigmas(n), raw)
    for a, b in zip(ours('dpmpp-2m', start(), edm_sigmas(n)), them, strict=True): assert torch.allclose(a, b, rtol=1e-9, atol=1e-9)

@pytest.mark.parametrize('n', [2, 5, 18])
def test_dpmpp_2m_sde(n):
    "One image, so that their one generator a batch is our one generator an image."
    scheduler = diffusers.EDMDPMSolverMultistepScheduler(solver_order=2, algorithm_type='sde-dpmsolver++', final_sigmas_type='zero')
    them = theirs(scheduler, start(1), edm_sigmas(n), raw, generator=torch.Generator().manual_seed(7))
    us = ours('dpmpp-2m-sde', start(1), edm_sigmas(n), image_noise([7]))
    for a, b in zip(us, them, strict=True): assert torch.allclose(a, b, rtol=1e-9, atol=1e-9)

@pytest.mark.parametrize('n', [2, 5, 18])
def test_euler_ancestral(n):
    "Their state is float32, their noise of the type of the network's answer."
    noise_in_x = lambda x, sigma: (x - PAIR(x.double(), sigma))/sigma
    scheduler, g = diffusers.EulerAncestralDiscreteScheduler(), torch.Generator().manual_seed(7)
    them = theirs(scheduler, start(1), edm_sigmas(n), noise_in_x, generator=g)
    us = ours('euler-ancestral', start(1), edm_sigmas(n), image_noise([7]))
    for a, b in zip(us, them, strict=True): assert torch.allclose(a, b, rtol=1e-5, atol=1e-5)

@pytest.mark.parametrize('name,order', [('unipc', 2), ('unipc-3', 3)])
@pytest.mark.parametrize('n', [3, 5, 18])
def test_unipc(name, order, n):
    """Theirs holds the state as x/√(1+σ²); the step is the same in either. At level 0 they need a lower order before it, we do not:
    compared down to the last level above 0, and for order 2 to 0 as well."""
    to_zero = order==2
    sigmas = edm_sigmas(n) if to_zero else edm_sigmas(n+1)[:-1]
    scheduler = diffusers.UniPCMultistepScheduler(solver_order=order, prediction_type='sample', solver_type='bh2',
                                                  lower_order_final=to_zero)
    alpha = 1/(1 + sigmas**2).sqrt()
    them = theirs(scheduler, start()*alpha[0], sigmas, lambda x, sigma: PAIR(x*(1 + sigma**2).sqrt(), sigma))
    us = ours(name, start(), sigmas)
    for a, b, k in zip(us, them, alpha[1:], strict=True): assert torch.allclose(a, b/k, rtol=1e-5, atol=1e-5)

def test_the_levels():
    "Their Karras schedule is ours, in float32."
    scheduler = diffusers.EDMEulerScheduler(sigma_min=.002, sigma_max=80., rho=7.)
    scheduler.set_timesteps(18)
    assert torch.allclose(scheduler.sigmas.double(), edm_sigmas(18), rtol=1e-5)

def test_the_end_is_the_same_for_all():
    "With many steps all of them, theirs and ours, find the same images."
    sigmas = edm_sigmas(300)
    truth = last(SOLVERS['unipc'].run(PAIR, start(), sigmas, None))
    for name in ('heun','dpmpp-2m','unipc-3'): assert torch.allclose(ours(name, start(), sigmas)[-1], truth, atol=1e-3)
    them = theirs(diffusers.HeunDiscreteScheduler(prediction_type='sample'), start(), sigmas, PAIR)
    assert torch.allclose(them[-1], truth, atol=1e-3)
