"""The network is trained on a clip, window by window: one from nothing comes to cover discs; windows are blended."""

import pytest
import torch
from scipy.spatial.transform import Rotation
from tiny_models import RENDERER, model_of, pictures, taught_a_little

from vmr_backend.fitting.data_terms import softness
from vmr_backend.losses import silhouette_loss
from vmr_backend.settings import Settings
from vmr_backend.vmr.model import State
from vmr_backend.vmr.windows import BlendedStates, OnlineAdaptation, adapt, base_swap_loss, windows_of

QUICK = Settings().with_values({"window": 4, "stride": 2, "iterations": 15, "frames_per_iteration": 3,
                                "weight_part": 0})


@pytest.mark.parametrize(("frames", "window", "stride", "starts"), [
    (100, 50, 10, [0, 10, 20, 30, 40, 50]), (48, 50, 10, [0]), (50, 50, 10, [0]), (53, 50, 10, [0, 3]),
    (65, 50, 10, [0, 10, 15]), (2, 50, 10, [0])])
def test_windows_follow_one_another_and_the_last_ends_with_the_clip(frames, window, stride, starts):
    found = windows_of(frames, window, stride)
    assert [one.start for one in found] == starts and found[-1].stop == frames
    assert all(len(one) == min(window, frames) for one in found)


def test_windows_grow_in_number_as_the_clip_does():
    assert [len(windows_of(50 + more, 50, 10)) - 1 for more in (30, 300, 3000)] == [3, 30, 300]


def state_with(value: float, rotation: torch.Tensor, count: int) -> State:
    return State(torch.full((count, 2), value), torch.full((count, 3, 9), value), rotation.expand(count, 3, 3),
                 torch.full((count, 3), value))


def test_where_windows_overlap_predictions_are_blended_by_weight():
    a, b = (torch.from_numpy(Rotation.from_rotvec([0, 0, angle]).as_matrix()).float() for angle in (0.2, 0.4))
    blend = BlendedStates(4)
    blend.add(torch.tensor([0, 1, 2]), state_with(1.0, a, 3), torch.tensor([1.0, 1.0, 0.5]))
    blend.add(torch.tensor([1, 2, 3]), state_with(3.0, b, 3), torch.tensor([1.0, 0.5, 2.0]))
    found = blend.state()
    assert found.placement[:, 0].tolist() == [1, 2, 2, 3] and found.handles[:, 2, 5].tolist() == [1, 2, 2, 3]
    middle = torch.from_numpy(Rotation.from_rotvec([0, 0, 0.3]).as_matrix()).float()
    torch.testing.assert_close(found.rotation, torch.stack([a, middle, middle, b]), rtol=0, atol=1e-5)


def test_a_base_shape_swapped_for_its_like_changes_nothing_and_for_another_much():
    model, (images, masks) = taught_a_little(model_of()), pictures(3, 64)
    with torch.no_grad():
        prediction, _ = model(images, masks, RENDERER)
        points = prediction.camera.project(model.shape.deformed(prediction.base.roll(1, 0), prediction.state.handles))
        alpha = RENDERER.silhouette(points, model.shape.faces, 64, softness(64))
        swapped = base_swap_loss(model, prediction, masks, RENDERER)
        torch.testing.assert_close(swapped, silhouette_loss(alpha, masks, torch.ones_like(alpha)))
        alone = model(images[:1], masks[:1], RENDERER)[0]
        own = RENDERER.silhouette(alone.camera.project(alone.vertices), model.shape.faces, 64, softness(64))
        torch.testing.assert_close(base_swap_loss(model, alone, masks[:1], RENDERER),
                                   silhouette_loss(own, masks[:1], torch.ones_like(own)))


def error_of(model, state: State, masks) -> float:
    with torch.no_grad():
        prediction = model.predict(state)
        alpha = RENDERER.silhouette(prediction.camera.project(prediction.vertices), model.shape.faces, 64, softness(64))
        return float(silhouette_loss(alpha, masks, torch.ones_like(alpha)).mean())


def adapted(model, images, masks, rotations, settings, seed, told) -> State:
    """After the windows of pictures that are no clip: nothing is followed from one to the next."""
    windows = []
    adaptation = OnlineAdaptation(model, len(images), seed)
    adapt(adaptation, None, images, masks, rotations, settings, RENDERER, lambda *step: told.append(step),
          lambda: windows.append(adaptation.done))
    assert windows == [number + 1 for number in range(len(windows_of(len(images), settings.window, settings.stride)))]
    return adaptation.blended.state()


def test_predictions_after_the_windows_cover_the_masks_better():
    model, (images, masks) = taught_a_little(model_of()), pictures(6, 64)
    with torch.no_grad():
        before, _ = model(images, masks, RENDERER)
    told = []
    state = adapted(model, images, masks, before.state.rotation, QUICK, 0, told)
    assert told == [(step, 30) for step in range(1, 31)], "two windows"
    assert error_of(model, state, masks) < 0.8 * error_of(model_like(), before.state, masks)


def model_like():
    """As it was before its training."""
    return taught_a_little(model_of())


def test_the_same_seed_gives_the_same_model():
    images, masks = pictures(3, 64)
    settings = QUICK.with_values({"iterations": 3})
    found = []
    for seed in (1, 1, 2):
        model = model_like()
        rotations = model(images, masks, RENDERER)[0].state.rotation.detach()
        found.append(adapted(model, images, masks, rotations, settings, seed, []).handles)
    assert torch.equal(found[0], found[1]) and not torch.equal(found[0], found[2])
