"""Whether anything moves is read off the footage: over a still picture, shaking masks, noise and light move nothing."""

import cv2
import numpy as np
import pytest
from turning_eggs import speckled, write

from vmr_backend.metrics.motion import motion
from vmr_backend.outputs.trust import STILL
from vmr_backend.video.footage import load_footage

FRAMES = 6


@pytest.fixture
def footage_of(filmed, egg_seen_from, tmp_path):
    """Footage of an egg at azimuths in degrees; pictures, and masks that are 0 or 255, may be changed by frame."""

    def make(azimuths, texture=None, picture=lambda image, t: image, mask=lambda mask, t: mask):
        film = filmed(egg_seen_from(np.array(azimuths, float)), speckled() if texture is None else texture)
        frames = [picture(image[..., ::-1], t) for t, image in enumerate(film.images)]
        masks = [mask(one * np.uint8(255), t) for t, one in enumerate(film.masks)]
        return load_footage(write(tmp_path / "frames", frames), write(tmp_path / "masks", masks), crop_size=64)

    return make


def ragged(mask, t):
    """A mask as a compressed movie has it: its outline is another one in each frame, by two pixels and more."""
    noise = cv2.GaussianBlur(np.random.default_rng(t).normal(0, 1, mask.shape), (0, 0), 2)
    return ((cv2.GaussianBlur(mask.astype(float), (0, 0), 2) + 60 * noise / noise.std() > 127) * 255).astype(np.uint8)


def noisy(image, t):
    """A frame as a compressed movie has it."""
    noise = np.random.default_rng(t).normal(0, 4, image.shape)
    return cv2.imdecode(cv2.imencode(".jpg", np.clip(image + noise, 0, 255), [cv2.IMWRITE_JPEG_QUALITY, 60])[1], 1)


@pytest.fixture(params=["detail everywhere", "little detail"])
def texture(request):
    if request.param == "detail everywhere":
        return speckled()
    return np.stack([np.linspace(60, 200, 128)[:, None].repeat(256, 1)] * 3, -1).astype(np.uint8)


@pytest.mark.parametrize("picture", [lambda image, t: image, noisy], ids=["clean", "noisy"])
@pytest.mark.parametrize("mask", [lambda mask, t: mask, ragged], ids=["one mask", "ragged masks"])
def test_nothing_moves_where_one_picture_is_shown_again_and_again(footage_of, texture, picture, mask):
    footage = footage_of([60] * FRAMES, texture, picture, mask)
    assert motion(footage) < STILL / 2
    assert mask is not ragged or np.ptp(footage.crop_centre, axis=0).max() > 0, "the crops do shake"


def test_light_that_changes_is_no_motion(footage_of):
    footage = footage_of([60] * FRAMES, picture=lambda image, t: (image * (1 - 0.03 * t)).astype(np.uint8))
    assert motion(footage) < STILL


@pytest.mark.parametrize("path", [
    np.linspace(0, 5, FRAMES), [0, 0, 0, 0, 0, 3], [0, 3, 0, 0, 0, 0], np.arange(FRAMES) * 60.0,
], ids=["a slow turn", "a turn at the end", "a turn and back", "a fast turn"])
def test_what_turns_by_a_few_degrees_does_move(footage_of, path):
    found = motion(footage_of(60 + np.array(path), picture=noisy, mask=ragged))
    assert found > 1.5 * STILL


def test_what_moves_in_the_picture_moves(footage_of):
    def shifted(image, t):
        return np.roll(image, t, axis=1)

    assert motion(footage_of([60] * FRAMES, picture=shifted, mask=shifted)) > 1.5 * STILL


def test_a_part_that_moves_counts(footage_of):
    """A tenth of the egg, cut out and put a few pixels aside."""

    def waved(image, t):
        image = image.copy()
        image[40:52, 58:72] = np.roll(image, t % 2 * 3, axis=1)[40:52, 58:72]
        return image

    assert motion(footage_of([60] * FRAMES, picture=waved)) > STILL
