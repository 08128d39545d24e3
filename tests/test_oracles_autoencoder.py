"""The published Gamma autoencoder, from its weights to its pictures: every stored number of the reference.

The reference keeps grey levels in [0, 1] and takes a latent as valid if the first pixel of its cell is in the sector; edmxl
keeps them in [-1, 1] and asks for any pixel. A sector made of whole cells (`cells`) is the same for both."""
import pytest
import torch
import torch.nn.functional as F

from edmxl.models.autoencoder import Gamma, kl, latent_mask, masked_mean, posterior_of
from edmxl.models.weights import from_reference

@pytest.fixture(scope='module')
def numbers(oracles): return oracles('edmlx_gamma_vae')[0]

@pytest.fixture(scope='module')
def config(oracles): return oracles('edmlx_gamma_vae')[1]

@pytest.fixture(scope='module')
def net(numbers, config):
    state = {k.removeprefix('param.'): v.float() for k,v in numbers.items() if k.startswith('param.')}
    return from_reference(state, config)

@pytest.fixture(scope='module')
def image(numbers): return 2*numbers['in.image'] - 1 # the range of edmxl

@pytest.fixture(scope='module')
def mask(numbers): return numbers['in.mask'][:,0] > 0

@pytest.fixture(scope='module')
def first(numbers):
    "`(b,1,h,w)`: where the reference has a latent."
    return F.interpolate(numbers['in.mask'], size=numbers['out.eval_z'].shape[-2:]) > 0

@pytest.fixture(scope='module')
def cells(first, net): return first[:,0].repeat_interleave(net.cfg.factor, 1).repeat_interleave(net.cfg.factor, 2)

def everywhere(mask): return torch.ones_like(mask)

def prior(config): return Gamma(*(torch.tensor(config['args'][k]) for k in ('alpha_param','beta_param')))

def close(got, want, eps=1e-5):
    "Largest difference against the largest absolute value expected."
    torch.testing.assert_close(got, want, rtol=0, atol=eps*want.abs().max().item())

def stored_posterior(n): return Gamma(n['out.posterior_alpha'], n['out.posterior_beta'])

# --- unit functions, on stored inputs

def test_posterior_parameters(numbers, config):
    q = posterior_of(torch.cat([numbers['out.encode_alpha_raw'], numbers['out.encode_beta_raw']], 1), prior(config))
    close(q.alpha, numbers['out.posterior_alpha'], 1e-6)
    close(q.beta, numbers['out.posterior_beta'], 1e-6)

def test_latents_are_the_masked_posterior_mean(numbers, mask, first, net):
    assert latent_mask(mask, net.cfg.factor)[first].all() # any pixel asks for no less than the first
    close(torch.where(first, stored_posterior(numbers).mean, 0.), numbers['out.eval_z'], 1e-6)

def test_kl_is_posterior_against_prior(numbers, config):
    q,p = stored_posterior(numbers),prior(config)
    want,reverse = numbers['out.kl_map_posterior_to_prior'],numbers['out.kl_map_prior_to_posterior']
    close(kl(q, p), want)
    close(kl(p, q), reverse)
    assert (kl(q, p) - reverse).abs().max() > 0.01*want.abs().max()

# --- the network, from images and from latents

@torch.no_grad()
def test_heads(numbers, image, net):
    close(net.encoder[:-1](image), numbers['out.encoder_h']) # before the 1x1 convolution that makes both heads
    close(net.encoder(image), torch.cat([numbers['out.encode_alpha_raw'], numbers['out.encode_beta_raw']], 1))

@torch.no_grad()
def test_posterior_and_latents_of_images(numbers, image, mask, first, net):
    q = net.posterior(image, mask)
    close(q.alpha, numbers['out.posterior_alpha'])
    close(q.beta, numbers['out.posterior_beta'])
    z = torch.where(first, net.encode(image, mask), 0.)
    assert torch.equal(z, torch.where(first, q.mean, 0.))
    close(z, numbers['out.eval_z'], 5e-5) # where the rate nears 0, softplus(10x)/10 turns an error of x into ten times that of ln z

@torch.no_grad()
def test_divergence_of_images(numbers, config, image, mask, first, net):
    "The reference's own reduction, on our map: summed over the batch, and small in a small sector. Training uses `masked_mean`."
    k = torch.where(first, kl(net.prior, net.posterior(image, mask)), 0.)
    close((k.mean((1,2,3))*(k!=0).float().mean((1,2,3))).sum(), numbers['out.eval_kl'])

@torch.no_grad()
def test_pictures_of_latents(numbers, mask, cells, net):
    z = numbers['in.latent']
    close((net.raw(z, everywhere(mask)) + 1)/2, numbers['out.decode'])
    picture,want = net.decode(z, cells),2*numbers['out.decode_stage_2'] - 1 # clipped, black outside the sector
    both = (cells & mask)[:,None]
    close(torch.where(both, picture, -1.), torch.where(both, want, -1.))
    close(torch.where(mask[:,None], net.raw(z, cells).clamp(-1, 1), -1.), want) # and where only the reference has a sector

@torch.no_grad()
def test_reconstructions(numbers, image, mask, first, cells, net):
    own,stored = torch.where(first, net.encode(image, mask), 0.),numbers['out.eval_z']
    for z in (stored, own): close((net.raw(z, cells) + 1)/2*mask[:,None], numbers['out.eval_recon'])

# --- what the reference gets wrong, and edmxl must not

@torch.no_grad()
def test_latents_are_of_this_image(numbers, image, mask, first, net):
    assert torch.equal(numbers['defect.encode_stage_2_image'], numbers['defect.encode_stage_2_zeros'])
    z,black = (torch.where(first, net.encode(x, mask), 0.) for x in (image, torch.full_like(image, -1.)))
    assert ((z-black).abs() > .01*z)[first.expand_as(z)].float().mean() > .9

def test_every_parameter_learns(config, image, mask, net):
    q = net.posterior(image, mask)
    error = masked_mean((net.raw(q.mean, mask) - image).square(), mask[:,None])
    (error + masked_mean(kl(q, net.prior), latent_mask(mask, net.cfg.factor))).backward()
    assert [n for n,p in net.named_parameters() if p.grad is None or not p.grad.abs().sum()>0]==[]
    assert all(p.grad.isfinite().all() for p in net.parameters())
    net.zero_grad(set_to_none=True)

def test_only_the_unused_is_dropped(numbers, config, net):
    unused = set(config['parameters_never_used'])
    kept = sum(v.numel() for k,v in numbers.items() if k.startswith('param.') and k.removeprefix('param.') not in unused)
    assert sum(p.numel() for p in net.parameters())==kept
