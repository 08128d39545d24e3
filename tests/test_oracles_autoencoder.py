"""The published Gamma autoencoder's stored numbers: posterior parameters from raw heads, KL in both directions."""
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from edmxl.models.autoencoder import Gamma, kl, latent_mask, posterior_of

ORACLE = Path(__file__).resolve().parents[2]/'shared'/'oracles'/'edmlx_gamma_vae.safetensors'
PRIOR = Gamma(torch.tensor(3.75), torch.tensor(10.8))
pytestmark = pytest.mark.skipif(not ORACLE.is_file(), reason=f'stored reference numbers not found at {ORACLE}')

@pytest.fixture(scope='module')
def numbers(): return load_file(ORACLE)

def close(got, want, eps=1e-6):
    torch.testing.assert_close(got, want, rtol=0, atol=eps*want.abs().max().item())

def stored_posterior(n): return Gamma(n['out.posterior_alpha'], n['out.posterior_beta'])

def test_posterior_parameters(numbers):
    q = posterior_of(torch.cat([numbers['out.encode_alpha_raw'], numbers['out.encode_beta_raw']], 1), PRIOR)
    close(q.alpha, numbers['out.posterior_alpha'])
    close(q.beta, numbers['out.posterior_beta'])

def test_latents_are_the_masked_posterior_mean(numbers):
    whole = latent_mask(numbers['in.mask'][:,0] > 0, 2)
    want = numbers['out.eval_z']
    inside = (want > 0) & whole # the reference takes the nearest pixel of the mask, edmxl any pixel
    assert inside.any()
    close(stored_posterior(numbers).mean[inside], want[inside])

def test_kl_is_posterior_against_prior(numbers):
    q = stored_posterior(numbers)
    want,reverse = numbers['out.kl_map_posterior_to_prior'],numbers['out.kl_map_prior_to_posterior']
    close(kl(q, PRIOR), want, 1e-5)
    close(kl(PRIOR, q), reverse, 1e-5)
    assert (kl(q, PRIOR) - reverse).abs().max() > 0.01*want.abs().max()
