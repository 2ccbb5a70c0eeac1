"""Observations: what is compared lies on the subject, where the footage has it, and is read between its pixels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from vmr_backend.fitting.observations import GAPS, SAMPLES, far_flows, look_up, observe
from vmr_backend.video.crops import pixel_centres
from vmr_backend.video.flow import CropFlow
from vmr_backend.video.footage import downsample

CPU = torch.device("cpu")


def observed(footage, size=32, seed=0, far=()):
    return observe(footage, list(far), size, CPU, np.random.default_rng(seed))


def at_samples(maps, pixels) -> np.ndarray:
    """Values of maps (T, S, S, ...) at the samples of their frames (T, P, 2)."""
    return np.stack([one[p[:, 1], p[:, 0]] for one, p in zip(maps, pixels, strict=True)])


def test_colours_between_pixels_are_bilinear_and_beyond_the_border_those_of_it():
    random = np.random.default_rng(0)
    images = random.uniform(size=(3, 3, 8, 8)).astype(np.float32)
    samples = random.uniform(-1.2, 1.2, (2, 3, 50, 2)).astype(np.float32)
    found = look_up(torch.from_numpy(images), torch.from_numpy(samples)).numpy()
    assert found.shape == (2, 3, 50, 3)
    for h, n, c in np.ndindex(2, 3, 3):
        x, y = ((samples[h, n] + 1) * 8 - 1).T / 2
        expected = map_coordinates(images[n, c], [y, x], order=1, mode="nearest")
        assert np.allclose(found[h, n, :, c], expected, atol=1e-5)


def test_a_look_up_without_hypotheses_is_the_same():
    images, samples = torch.rand(3, 3, 8, 8), torch.rand(3, 5, 2) * 2 - 1
    assert torch.equal(look_up(images, samples), look_up(images, samples[None])[0])


def test_a_place_at_a_pixels_centre_has_its_colour():
    images = torch.rand(1, 3, 4, 4)
    samples = torch.tensor([[[-0.75, -0.75], [0.25, -0.25], [0.75, 0.75]]])
    expected = torch.stack([images[0, :, 0, 0], images[0, :, 1, 2], images[0, :, 3, 3]])
    assert torch.allclose(look_up(images, samples)[0], expected, atol=1e-6)


def test_gradients_of_a_look_up_reach_the_samples():
    random = np.random.default_rng(0)
    images = torch.from_numpy(random.uniform(size=(3, 3, 8, 8)))
    samples = torch.from_numpy(random.uniform(-0.9, 0.9, (2, 3, 5, 2))).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: look_up(images, p), samples)


@pytest.mark.parametrize("size", [32, 64])
def test_samples_lie_on_the_subject_and_say_where_they_are(turning_egg, size):
    seen = observed(turning_egg.footage, size)
    frames = len(turning_egg.footage.numbers)
    assert seen.pixels.shape == (frames, SAMPLES, 2) and seen.size == size
    assert (at_samples(seen.masks.numpy(), seen.pixels.numpy()) > 0.5).all()
    assert seen.images.min() >= 0 and seen.images.max() <= 1
    small = downsample(turning_egg.footage, size)
    colours = at_samples(small.images, seen.pixels.numpy()) / 255
    assert np.allclose(look_up(seen.images, seen.samples).numpy(), colours, atol=1e-5)


def test_flow_is_that_of_the_pixel_and_the_ends_of_the_clip_have_none_beyond(turning_egg):
    small, seen = downsample(turning_egg.footage, 32), observed(turning_egg.footage)
    pixels, (link,) = seen.pixels.numpy(), seen.links
    assert link.gap == 1
    assert np.array_equal(link.forward[:-1].numpy(), at_samples(small.flow_forward, pixels[:-1]))
    assert np.array_equal(link.backward[1:].numpy(), at_samples(small.flow_backward, pixels[1:]))
    assert np.array_equal(link.forward_weight[:-1].numpy(), at_samples(small.flow_forward_weight, pixels[:-1]))
    assert np.array_equal(link.backward_weight[1:].numpy(), at_samples(small.flow_backward_weight, pixels[1:]))
    assert (link.forward_weight[-1] == 0).all() and (link.backward_weight[0] == 0).all()


@pytest.mark.parametrize("own_size", [16, 32, 64, 96])
def test_flow_across_gaps_of_any_resolution_is_looked_up_at_the_samples(turning_egg, own_size):
    frames, gap = len(turning_egg.footage.numbers), 4
    place = np.broadcast_to(pixel_centres(own_size), (frames - gap, own_size, own_size, 2))
    frame = np.arange(frames - gap)[:, None, None] * np.ones((1, own_size, own_size))
    near, far = observed(turning_egg.footage, far=[CropFlow(gap, place, -place, frame, frame + 0.5)]).links
    samples = observed(turning_egg.footage).samples
    assert (near.gap, far.gap) == (1, gap)
    one_pixel = 1 / min(own_size, 32) + 1e-6
    assert (far.forward[:-gap] - samples[:-gap]).abs().max() <= one_pixel, "from the pixel that a sample lies in"
    assert (far.backward[gap:] + samples[gap:]).abs().max() <= one_pixel
    early, late = torch.arange(frames - gap)[:, None].float(), torch.arange(gap, frames)[:, None].float()
    assert (far.forward_weight[:-gap] == early).all() and (far.forward_weight[-gap:] == 0).all()
    assert (far.backward_weight[gap:] == late - gap + 0.5).all() and (far.backward_weight[:gap] == 0).all()


def test_gaps_are_those_that_the_clip_is_twice_as_long_as(turning_egg):
    assert [flow.gap for flow in far_flows(turning_egg.footage)] == [gap for gap in GAPS[1:] if gap <= 5]


def test_what_is_outside_the_frame_or_in_a_poor_frame_weighs_less(turning_egg):
    inside = turning_egg.footage.inside.copy()
    inside[2, :, :32] = False
    worth = np.linspace(0.1, 1, len(inside)).astype(np.float32)
    seen = observed(replace(turning_egg.footage, inside=inside, frame_weight=worth), 64)
    assert np.allclose(seen.weights.numpy(), inside * worth[:, None, None])
    assert np.array_equal(seen.frame_weight.numpy(), worth)


@pytest.mark.parametrize("value", [0.0, 0.3])
def test_a_frame_with_hardly_a_mask_still_has_samples(turning_egg, value):
    masks = turning_egg.footage.masks.copy()
    masks[1] = 0
    masks[1, 10:12, 20] = value
    seen = observed(replace(turning_egg.footage, masks=masks), 64)
    assert (at_samples(seen.masks.numpy(), seen.pixels.numpy())[1] == np.float32(value)).all()


def test_samples_follow_from_the_seed(turning_egg):
    assert torch.equal(observed(turning_egg.footage).pixels, observed(turning_egg.footage).pixels)
    assert not torch.equal(observed(turning_egg.footage).pixels, observed(turning_egg.footage, seed=1).pixels)
