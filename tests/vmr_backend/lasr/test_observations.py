"""Observations: what is compared lies on the subject, where the footage has it, and is read between its pixels."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.ndimage import map_coordinates

from vmr_backend.lasr.observations import SAMPLES, look_up, observe
from vmr_backend.video.footage import downsample

CPU = torch.device("cpu")


def observed(footage, size=32, seed=0):
    return observe(footage, size, CPU, np.random.default_rng(seed))


def at_samples(maps, pixels) -> np.ndarray:
    """Values of maps (T, S, S, ...) at the samples of their frames (T, P, 2)."""
    return np.stack([one[p[:, 1], p[:, 0]] for one, p in zip(maps, pixels, strict=True)])


def test_colours_between_pixels_are_bilinear_and_beyond_the_border_those_of_it():
    random = np.random.default_rng(0)
    images = random.uniform(size=(3, 3, 8, 8)).astype(np.float32)
    places = random.uniform(-1.2, 1.2, (2, 3, 50, 2)).astype(np.float32)
    found = look_up(torch.from_numpy(images), torch.from_numpy(places)).numpy()
    assert found.shape == (2, 3, 50, 3)
    for h, n, c in np.ndindex(2, 3, 3):
        x, y = ((places[h, n] + 1) * 8 - 1).T / 2
        expected = map_coordinates(images[n, c], [y, x], order=1, mode="nearest")
        assert np.allclose(found[h, n, :, c], expected, atol=1e-5)


def test_a_look_up_without_hypotheses_is_the_same():
    images, places = torch.rand(3, 3, 8, 8), torch.rand(3, 5, 2) * 2 - 1
    assert torch.equal(look_up(images, places), look_up(images, places[None])[0])


def test_a_place_at_a_pixels_centre_has_its_colour():
    images = torch.rand(1, 3, 4, 4)
    places = torch.tensor([[[-0.75, -0.75], [0.25, -0.25], [0.75, 0.75]]])
    expected = torch.stack([images[0, :, 0, 0], images[0, :, 1, 2], images[0, :, 3, 3]])
    assert torch.allclose(look_up(images, places)[0], expected, atol=1e-6)


def test_gradients_of_a_look_up_reach_the_places():
    random = np.random.default_rng(0)
    images = torch.from_numpy(random.uniform(size=(3, 3, 8, 8)))
    places = torch.from_numpy(random.uniform(-0.9, 0.9, (2, 3, 5, 2))).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: look_up(images, p), places)


@pytest.mark.parametrize("size", [32, 64])
def test_samples_lie_on_the_subject_and_say_where_they_are(turning_egg, size):
    seen = observed(turning_egg.footage, size)
    frames = len(turning_egg.footage.numbers)
    assert seen.pixels.shape == (frames, SAMPLES, 2) and seen.size == size
    assert (at_samples(seen.masks.numpy(), seen.pixels.numpy()) > 0.5).all()
    assert torch.allclose(look_up(seen.images, seen.places), seen.colours, atol=1e-5)
    assert seen.images.min() >= 0 and seen.images.max() <= 1
    small = downsample(turning_egg.footage, size)
    assert np.allclose(seen.colours.numpy(), at_samples(small.images, seen.pixels.numpy()) / 255, atol=1e-6)


def test_flow_is_that_of_the_pixel_and_the_ends_of_the_clip_have_none_beyond(turning_egg):
    small, seen = downsample(turning_egg.footage, 32), observed(turning_egg.footage)
    pixels = seen.pixels.numpy()
    assert np.array_equal(seen.flow_forward[:-1].numpy(), at_samples(small.flow_forward, pixels[:-1]))
    assert np.array_equal(seen.flow_backward[1:].numpy(), at_samples(small.flow_backward, pixels[1:]))
    assert np.array_equal(seen.flow_forward_weight[:-1].numpy(), at_samples(small.flow_forward_weight, pixels[:-1]))
    assert np.array_equal(seen.flow_backward_weight[1:].numpy(), at_samples(small.flow_backward_weight, pixels[1:]))
    assert (seen.flow_forward_weight[-1] == 0).all() and (seen.flow_backward_weight[0] == 0).all()


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
