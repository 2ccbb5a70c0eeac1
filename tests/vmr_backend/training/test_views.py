"""A template and cameras are found from masks alone, the same way round in all pictures."""

import numpy as np
import pytest
import torch

from vmr_backend.geometry.cameras import LEVEL_CAMERA, WeakCamera
from vmr_backend.geometry.rotations import about_x, about_z
from vmr_backend.geometry.sphere import icosphere
from vmr_backend.job import BadInput, Cancelled
from vmr_backend.rendering import get_renderer
from vmr_backend.training import views as template_views
from vmr_backend.training.views import views_of

SIZE, COUNT = 40, 40


@pytest.fixture(scope="module")
def renderer():
    return get_renderer("warp")


def tadpole() -> torch.Tensor:
    """(V, 3) of a body with a thick, high head at -y and a thin tail that hangs at +y."""
    x, y, z = icosphere(3).vertices.T
    thick = 0.2 - 0.14 * y
    return torch.from_numpy(np.stack([0.7 * thick * x, 0.5 * y, thick * z - 0.2 * y], 1)).float()


def seen_from(heading, elevation) -> torch.Tensor:
    return about_x(elevation) @ LEVEL_CAMERA @ about_z(heading)


def masks_of(body: torch.Tensor, rotation: torch.Tensor, renderer) -> np.ndarray:
    """(N, SIZE, SIZE) uint8, framed as crops are."""
    flat = (body @ rotation.mT)[..., :2]
    low, high = flat.amin(1), flat.amax(1)
    scale = 2 / 1.2 / (high - low).amax(1)
    camera = WeakCamera(rotation, scale, -scale[:, None] * (low + high) / 2)
    return drawn(body, icosphere(3).faces, camera, renderer)


def drawn(body, faces, camera: WeakCamera, renderer) -> np.ndarray:
    points = camera.project(body.expand(len(camera.scale), -1, -1))
    alpha = renderer.silhouette(points, torch.from_numpy(faces), SIZE, (0.4 / SIZE) ** 2)
    return (255 * alpha.numpy()).astype(np.uint8)


def quiet(done, total):
    """No progress is shown."""


@pytest.fixture(scope="module")
def headings():
    return torch.from_numpy(np.random.default_rng(3).permutation(COUNT) * (2 * np.pi / COUNT)).float()


@pytest.fixture(scope="module")
def masks(headings, renderer):
    elevation = torch.from_numpy(np.random.default_rng(4).uniform(0.0, 0.4, COUNT)).float()
    return masks_of(tadpole(), seen_from(headings, elevation), renderer)


@pytest.fixture(scope="module")
def views(masks, renderer):
    return views_of(masks, renderer, 0, quiet)


def test_all_pictures_are_seen_the_same_way_round(views, headings):
    found = views.camera.rotation.numpy()
    ahead = found @ [0, -1, 0]
    true = seen_from(headings, torch.zeros(COUNT)).numpy() @ [0, -1, 0]
    sideways = np.abs(true[:, 0]) > 0.5
    agree = (ahead[:, 0] * true[:, 0] > 0)[sideways].mean()
    assert max(agree, 1 - agree) > 0.95
    # Nearly level outlines do not tell depth: headings are compared up to its sign.
    from_side = np.degrees(np.abs(np.arcsin(np.abs(ahead[:, 0]).clip(0, 1)) - np.arcsin(np.abs(true[:, 0]).clip(0, 1))))
    assert np.median(from_side) < 15


def test_the_template_seen_so_covers_the_masks(views, masks, renderer):
    template = torch.from_numpy(views.template).float()
    shown = drawn(template, views.sphere.faces, views.camera, renderer) > 127
    both, either = (shown & (masks > 127)).sum((1, 2)), (shown | (masks > 127)).sum((1, 2))
    assert (both / either).mean() > 0.8


def test_subjects_stand_upright(views):
    up = views.camera.rotation.numpy() @ [0, 0, 1]
    assert np.median(up[:, 1]) < -0.85 and (up[:, 1] < -0.5).all()


def test_the_template_is_symmetric_one_long_and_outside_out(views):
    vertices, sphere = views.template, views.sphere
    assert vertices.shape == (642, 3) and sphere.faces.shape == (1280, 3)
    np.testing.assert_allclose(vertices[sphere.mirror], vertices * [-1, 1, 1], atol=1e-6)
    np.testing.assert_allclose(sphere.vertices[sphere.mirror], sphere.vertices * [-1, 1, 1], atol=1e-6)
    assert np.ptp(vertices, axis=0).max() == pytest.approx(1, abs=1e-5) and np.ptp(vertices, axis=0).argmax() == 1
    a, b, c = vertices[sphere.faces].swapaxes(0, 1)
    assert np.einsum("fk,fk->", np.cross(a, b), c) / 6 > 0.01
    widest = np.abs(sphere.vertices[:, 0]) > 0.7
    assert (vertices[widest, 0] * sphere.vertices[widest, 0] > 0).all()


def test_the_same_seed_finds_the_same(masks, renderer, monkeypatch):
    for name, value in {"BATCHES": 2, "STEPS": 1, "LAST_STEPS": 1, "HEADINGS": 8, "STRENGTHS": (30.0, 8.0)}.items():
        monkeypatch.setattr(template_views, name, value)
    first, again = (views_of(masks[:8], renderer, 5, quiet) for _ in range(2))
    np.testing.assert_array_equal(first.template, again.template)
    np.testing.assert_array_equal(first.camera.rotation.numpy(), again.camera.rotation.numpy())


def test_progress_is_told_and_may_end_it(masks, renderer):
    told = []

    def cancel(done, total):
        told.append((done, total))
        raise Cancelled

    with pytest.raises(Cancelled):
        views_of(masks[:8], renderer, 0, cancel)
    assert told[0][0] == 1 < told[0][1]


def test_nothing_to_see_is_bad_input(masks, renderer):
    empty = masks.copy()
    empty[5] = 0
    with pytest.raises(BadInput, match="masks: found nothing in number 5, needs a subject in each"):
        views_of(empty, renderer, 0, quiet)
    with pytest.raises(BadInput, match="masks: found 3, needs at least 8"):
        views_of(masks[:3], renderer, 0, quiet)
