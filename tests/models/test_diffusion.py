"""Noising process and samplers: closed forms, the exact denoiser of a Gaussian, and diffusers where it installs."""

import math

import pytest
import torch

from mae3d.errors import ConfigError
from mae3d.models.diffusion import SAMPLERS, GaussianDiffusion, Guidance, noise_schedule, sample, timesteps
from mae3d.models.diffusion.samplers import Ancestral, Ddim

MEAN, DEVIATION = 0.7, 0.3


def gaussian_denoiser(diffusion, mean=MEAN, deviation=DEVIATION):
    """The best possible network for data N(mean, deviation^2), float64."""

    def denoise(noisy, times):
        share = diffusion.share_at(int(times[0]))
        signal, variance = math.sqrt(share), 1 - share
        clean = mean + signal * deviation**2 / (share * deviation**2 + variance) * (noisy - signal * mean)
        noise = (noisy - signal * clean) / math.sqrt(variance)
        return noise if diffusion.prediction == "epsilon" else signal * noise - math.sqrt(variance) * clean

    return denoise


def test_published_schedules():
    linear = noise_schedule("linear", 1000)
    assert linear[0] == pytest.approx(1e-4)
    assert linear[999] == pytest.approx(2e-2)
    assert linear[500] == pytest.approx(1e-4 + 500 / 999 * (2e-2 - 1e-4))
    warm = noise_schedule("warm0.1", 1000)
    assert warm[0] == pytest.approx(1e-5)
    assert warm[99] == pytest.approx(8e-3)
    assert (warm[99:] == 8e-3).all()
    assert warm[50] == pytest.approx(1e-5 + 50 / 99 * (8e-3 - 1e-5))
    share = (1 - noise_schedule("cosine", 1000)).cumprod(0)
    wanted = [math.cos(((t + 1) / 1000 + 0.008) / 1.008 * math.pi / 2) ** 2 for t in range(990)]
    torch.testing.assert_close(
        share[:990], torch.tensor(wanted, dtype=torch.float64) / math.cos(0.008 / 1.008 * math.pi / 2) ** 2
    )


def test_property_9_noising_matches_the_product_of_steps_at_both_ends():
    diffusion = GaussianDiffusion()
    clean, noise = torch.randn(2, 5, 3), torch.randn(2, 5, 3)
    betas = noise_schedule("linear", 1000).tolist()
    for time, share in ((0, 1 - 1e-4), (999, math.prod(1 - beta for beta in betas))):
        noisy = diffusion.add_noise(clean, torch.full((2,), time), noise)
        torch.testing.assert_close(noisy, math.sqrt(share) * clean + math.sqrt(1 - share) * noise)


def test_property_9_ancestral_step_is_the_published_posterior():
    betas = noise_schedule("linear", 1000)
    shares = (1 - betas).cumprod(0)
    diffusion = GaussianDiffusion()
    x0, xt, fresh = torch.randn(3, dtype=torch.float64)
    for time in (1, 500, 999):
        now, then, beta = shares[time], shares[time - 1], betas[time]
        mean = beta * then.sqrt() / (1 - now) * x0 + (1 - then) * (1 - beta).sqrt() / (1 - now) * xt
        deviation = (beta * (1 - then) / (1 - now)).sqrt()
        found = diffusion.interpret((xt - now.sqrt() * x0) / (1 - now).sqrt(), xt, time)
        torch.testing.assert_close(found.clean, x0)
        for step in (Ancestral(), Ddim(eta=1.0)):
            moved = step(xt, found, diffusion.share_at(time), diffusion.share_at(time - 1), fresh)
            torch.testing.assert_close(moved, mean + deviation * fresh)
    last = diffusion.interpret(torch.tensor(0.0), xt, 0)
    torch.testing.assert_close(Ancestral()(xt, last, diffusion.share_at(0), 1.0, None), last.clean)


def test_both_predictions_say_the_same():
    clean, noise = torch.randn(1, 4, 3), torch.randn(1, 4, 3)
    for prediction in ("epsilon", "v"):
        diffusion = GaussianDiffusion(prediction=prediction)
        for time in (0, 300, 900):
            times = torch.tensor([time])
            noisy = diffusion.add_noise(clean, times, noise)
            found = diffusion.interpret(diffusion.target(clean, times, noise), noisy, time)
            torch.testing.assert_close(found.clean, clean, rtol=1e-3, atol=1e-3)
            torch.testing.assert_close(found.noise, noise, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
@pytest.mark.parametrize(("sampler", "steps", "tolerance"), [("ddim", 200, 2e-2), ("dpm-solver++", 25, 1e-2)])
def test_deterministic_samplers_solve_the_flow_of_a_gaussian(sampler, steps, tolerance, prediction):
    # The exact flow keeps each sample at its quantile: x_0 = mean + deviation z for x_T at quantile z.
    diffusion = GaussianDiffusion(prediction=prediction)
    quantile = torch.linspace(-2, 2, 9, dtype=torch.float64).reshape(1, 9, 1)
    share = diffusion.share_at(999)
    start = math.sqrt(share) * MEAN + math.sqrt(share * DEVIATION**2 + 1 - share) * quantile
    denoiser = gaussian_denoiser(diffusion)
    found = sample(lambda x, t: denoiser(x, t).double(), diffusion, start, sampler=sampler, steps=steps)
    torch.testing.assert_close(found, MEAN + DEVIATION * quantile, rtol=0, atol=tolerance)


def test_the_second_order_solver_needs_fewer_steps():
    diffusion = GaussianDiffusion()
    start = torch.randn(1, 64, 1, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    exact = MEAN + DEVIATION * start
    errors = {
        name: (sample(gaussian_denoiser(diffusion), diffusion, start, sampler=name, steps=15) - exact).abs().mean()
        for name in ("ddim", "dpm-solver++")
    }
    assert errors["dpm-solver++"] < 0.5 * errors["ddim"]


def test_ancestral_sampling_gives_the_distribution():
    diffusion = GaussianDiffusion()
    generator = torch.Generator().manual_seed(0)
    start = torch.randn(1, 8000, 1, generator=generator)
    found = sample(gaussian_denoiser(diffusion), diffusion, start, generator=generator)
    assert found.mean().item() == pytest.approx(MEAN, abs=0.02)
    assert found.std().item() == pytest.approx(DEVIATION, abs=0.02)


def test_guidance():
    def both(noisy, times):
        return torch.cat((torch.full_like(noisy[:2], 3.0), torch.full_like(noisy[2:], 1.0)))

    noisy, times = torch.zeros(2, 4, 3), torch.zeros(2, dtype=torch.int64)
    guided = Guidance(lambda x, t: torch.full_like(x, 3.0), both, 2.5)
    assert (guided(noisy, times) == 1 + 2.5 * 2).all()
    assert (Guidance(guided.conditional, both, 0.0)(noisy, times) == 1).all()
    assert (Guidance(guided.conditional, None, 1.0)(noisy, times) == 3).all()


@pytest.mark.parametrize("sampler", sorted(SAMPLERS))
def test_known_rows_are_kept_and_seeds_repeat(sampler):
    diffusion = GaussianDiffusion(50)
    known = torch.full((2, 3, 3), 5.0)
    start = torch.randn(2, 8, 3, generator=torch.Generator().manual_seed(1))
    seen = []

    def run():
        return sample(
            gaussian_denoiser(diffusion),
            diffusion,
            start,
            sampler=sampler,
            steps=10,
            known=known,
            generator=torch.Generator().manual_seed(0),
            watch=lambda time, noisy, found: seen.append((time, noisy[0, 0, 0].item())),
        )

    first = run()
    assert torch.equal(first[:, :3], known)
    assert first[:, 3:].isfinite().all()
    assert len(seen) <= 10
    assert [seen[0][0], seen[-1][0]] == [49, 0]
    last = seen[-1][1]
    assert last == pytest.approx(5.0, abs=0.1)  # noised to time 0: nearly the known value
    assert torch.equal(first, run())


def test_clipping_bounds_every_estimate_and_nothing_else():
    diffusion = GaussianDiffusion(100)
    start = torch.randn(1, 50, 3, generator=torch.Generator().manual_seed(0))
    wrong = gaussian_denoiser(diffusion, mean=40.0)
    assert sample(wrong, diffusion, start, sampler="ddim", steps=20).abs().max() > 30
    assert sample(wrong, diffusion, start, sampler="ddim", steps=20, clip=4.0).abs().max() <= 4.0
    right = gaussian_denoiser(diffusion)
    options = {"sampler": "dpm-solver++", "steps": 20}
    plain = sample(right, diffusion, start, **options)
    torch.testing.assert_close(sample(right, diffusion, start, clip=10.0, **options), plain, rtol=1e-4, atol=1e-4)


def test_timesteps():
    diffusion = GaussianDiffusion()
    assert timesteps(diffusion) == list(range(999, -1, -1))
    assert timesteps(diffusion, 4) == [999, 666, 333, 0]
    assert timesteps(diffusion, 1) == [999]
    assert timesteps(diffusion, 2, start=499) == [499, 0]
    even = timesteps(diffusion, 10, spacing="log_ratio")
    assert (even[0], even[-1]) == (999, 0)
    ratios = [0.5 * math.log(diffusion.share[time] / (1 - diffusion.share[time])) for time in even]
    gaps = torch.tensor(ratios).diff()
    assert gaps.max() < 1.3 * gaps.min()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"sampler": "euler"}, "sampler must be one of"),
        ({"steps": 0}, "steps must be between 1 and 100"),
        ({"steps": 101}, "steps must be between 1 and 100"),
        ({"eta": 0.5}, 'eta belongs to sampler "ddim"'),
    ],
)
def test_impossible_sampling(options, message):
    diffusion = GaussianDiffusion(100)
    with pytest.raises(ConfigError, match=message):
        sample(gaussian_denoiser(diffusion), diffusion, torch.zeros(1, 2, 3), **options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"schedule": "sigmoid"}, "name must be one of"),
        ({"steps": 0}, "steps must be at least 1"),
        ({"beta_start": 0.5, "beta_end": 0.1}, "0 < start <= end < 1"),
        ({"schedule": "cosine", "beta_end": 0.1}, "takes neither start nor end"),
        ({"prediction": "x0"}, 'prediction must be "epsilon" or "v"'),
    ],
)
def test_impossible_processes(options, message):
    with pytest.raises(ConfigError, match=message):
        GaussianDiffusion(**options)


@pytest.mark.parametrize("prediction", ["epsilon", "v"])
@pytest.mark.parametrize("sampler", ["ddim", "dpm-solver++"])
def test_same_trajectory_as_diffusers(sampler, prediction):
    diffusers = pytest.importorskip("diffusers")
    shared = {
        "num_train_timesteps": 1000,
        "beta_start": 1e-4,
        "beta_end": 2e-2,
        "prediction_type": "epsilon" if prediction == "epsilon" else "v_prediction",
    }
    diffusion = GaussianDiffusion(prediction=prediction)
    times = timesteps(diffusion, 20, start=950)  # every fiftieth, as diffusers' DDIM assumes
    if sampler == "ddim":
        theirs = diffusers.DDIMScheduler(**shared, clip_sample=False)
        theirs.set_timesteps(20)
    else:
        theirs = diffusers.DPMSolverMultistepScheduler(**shared, final_sigmas_type="zero")
        theirs.set_timesteps(timesteps=times)
    denoiser = gaussian_denoiser(diffusion)
    x = torch.randn(2, 16, 3, generator=torch.Generator().manual_seed(0))
    options = {"sampler": sampler, "steps": 20, "start_time": 950, "spacing": "time"}
    ours = sample(denoiser, diffusion, x, **options)
    for time in times:
        x = theirs.step(denoiser(x, torch.tensor([time, time])), torch.tensor(time), x).prev_sample
    torch.testing.assert_close(ours, x, rtol=1e-4, atol=1e-4)
