"""Augmentations of training pictures: all that belongs to a picture still agrees with it afterwards."""

from dataclasses import fields, replace

import pytest
import torch
from tiny_trainings import AFFINITY, KEYPOINT_MIRROR, MIRROR, drawn_masks, toy_examples

from vmr_backend.training.augmentation import Augmentation, Examples, augmented

COUNT, FINE = 8, 96


def still(count: int = COUNT, **changes) -> Augmentation:
    """No augmentation, but for some of it."""
    zero, one = torch.zeros(count), torch.ones(count)
    rest = {"flip": zero.bool(), "roll": zero, "zoom": one, "shift": torch.zeros(count, 2),
            "gain": torch.ones(count, 3), "level": torch.zeros(count, 3)}
    return Augmentation(**(rest | changes))


def change(examples: Examples, augmentation: Augmentation) -> Examples:
    return augmented(examples, augmentation, KEYPOINT_MIRROR, MIRROR)


def flat(examples: Examples) -> list[torch.Tensor]:
    camera = examples.camera
    return [getattr(examples, f.name) for f in fields(examples) if f.name != "camera"] + [
        camera.rotation, camera.scale, camera.shift]


@pytest.fixture(scope="module")
def examples():
    return toy_examples(COUNT, size=FINE)


@pytest.mark.parametrize("flipped", [False, True])
def test_mesh_camera_and_keypoints_agree_after_any_augmentation(examples, flipped):
    drawn = Augmentation.draw(COUNT, torch.Generator().manual_seed(1))
    found = change(examples, replace(drawn, flip=torch.full((COUNT,), flipped)))
    projected = (AFFINITY @ found.camera.project(found.vertices))[..., :2]
    assert torch.allclose(projected, found.keypoints, atol=1e-5)
    assert not torch.allclose(found.keypoints, examples.keypoints, atol=0.01)
    proper = torch.linalg.det(found.camera.rotation)
    assert torch.allclose(proper, torch.ones(COUNT), atol=1e-5)


@pytest.mark.parametrize("flipped", [False, True])
def test_the_mask_is_the_drawing_of_the_mesh_after_any_augmentation(examples, flipped):
    drawn = Augmentation.draw(COUNT, torch.Generator().manual_seed(2))
    found = change(examples, still(flip=torch.full((COUNT,), flipped), roll=drawn.roll, zoom=drawn.zoom,
                                   shift=drawn.shift))
    mask, mesh = found.masks > 0.5, drawn_masks(found.vertices, found.camera, FINE) > 0.5
    overlap = (mask & mesh).sum((1, 2)) / (mask | mesh).sum((1, 2))
    assert overlap.min() > 0.95
    before = examples.masks > 0.5
    assert ((mask & before).sum((1, 2)) / (mask | before).sum((1, 2))).min() < 0.93, "it did move"


def test_the_picture_goes_with_its_mask(examples):
    drawn = Augmentation.draw(COUNT, torch.Generator().manual_seed(3))
    found = change(examples, still(roll=drawn.roll, zoom=drawn.zoom, shift=drawn.shift, flip=drawn.flip))
    lit = found.images.sum(1) > 0
    assert not lit[found.masks == 0].any() and lit[found.masks > 0.5].float().mean() > 0.99


def test_a_keypoint_is_where_its_colour_is(examples):
    """A picture that is white around one keypoint is so after the augmentation, too."""
    grid = (2 * torch.arange(FINE) + 1) / FINE - 1
    spot = ((grid - examples.keypoints[:, 0, 0, None, None]).square()
            + (grid[:, None] - examples.keypoints[:, 0, 1, None, None]).square()) < 0.004
    marked = Examples(spot.float().unsqueeze(1).expand(-1, 3, -1, -1), *(
        getattr(examples, f.name) for f in fields(examples)[1:]))
    drawn = Augmentation.draw(COUNT, torch.Generator().manual_seed(4))
    found = change(marked, still(flip=drawn.flip, roll=drawn.roll, zoom=drawn.zoom, shift=drawn.shift))
    weight = found.images[:, 0]
    x, y = ((weight * axis).sum((1, 2)) / weight.sum((1, 2)) for axis in (grid, grid[:, None]))
    inside = (found.keypoints[:, 0].abs() < 0.9).all(1) & (examples.keypoints[:, 0].abs() < 0.9).all(1)
    assert inside.sum() > 3
    assert (torch.stack([x, y], 1) - found.keypoints[:, 0])[inside].abs().max() < 0.01


def test_mirroring_twice_changes_nothing(examples):
    mirror = still(flip=torch.ones(COUNT, dtype=torch.bool))
    for before, after in zip(flat(examples), flat(change(change(examples, mirror), mirror)), strict=True):
        assert torch.allclose(before.float(), after.float(), atol=1e-4)


def test_no_augmentation_changes_nothing(examples):
    for before, after in zip(flat(examples), flat(change(examples, still())), strict=True):
        assert torch.allclose(before.float(), after.float(), atol=1e-4)


def test_annotations_change_sides_with_their_keypoints(examples):
    found = change(examples, still(flip=torch.arange(COUNT) % 2 == 0))
    for number in range(COUNT):
        order = [0, 1, 3, 2] if number % 2 == 0 else [0, 1, 2, 3]
        assert torch.equal(found.annotated[number], examples.annotated[number, order])


def test_colours_stay_between_black_and_white_and_each_channel_changes_by_itself(examples):
    drawn = Augmentation.draw(COUNT, torch.Generator().manual_seed(5))
    found = change(examples, still(gain=drawn.gain, level=drawn.level)).images
    assert found.min() >= 0 and found.max() <= 1
    expected = (examples.images * drawn.gain[:, :, None, None] + drawn.level[:, :, None, None]).clamp(0, 1)
    assert torch.allclose(found, expected, atol=1e-5)


def test_augmentations_stay_within_their_bounds_and_flip_every_second_picture():
    drawn = Augmentation.draw(4000, torch.Generator().manual_seed(0))
    assert 0.46 < drawn.flip.float().mean() < 0.54
    for values, low, high in ((drawn.roll.rad2deg(), -12, 12), (drawn.zoom, 0.886, 1.128), (drawn.shift, -0.08, 0.08),
                              (drawn.gain, 0.65, 1.35), (drawn.level, -0.15, 0.15)):
        assert values.min() >= low and values.max() <= high
        assert values.min() < low + 0.05 * (high - low) and values.max() > high - 0.05 * (high - low)


def test_a_share_of_a_augmentation_is_the_augmentation_of_that_share(examples):
    drawn = Augmentation.draw(COUNT, torch.Generator().manual_seed(6))
    whole = flat(change(examples, drawn))
    for own in (slice(0, None, 3), slice(1, None, 3), slice(2, None, 3)):
        for all_of_it, part in zip(whole, flat(change(examples[own], drawn[own])), strict=True):
            assert torch.allclose(all_of_it[own], part, atol=1e-6)
