"""Colours of what no frame shows: on closed bodies, sheets and parts, through maps of one island and of many."""

import numpy as np
import pytest
from odd_meshes import Mesh, box_uv, grid, two_balls, with_lonely

from vmr_backend.geometry.sphere import icosphere, spherical_uv
from vmr_backend.texture.fill import _harmonic, fill
from vmr_backend.texture.layout import lay_out

BODIES = {"sphere's map": (icosphere(3), spherical_uv(icosphere(3)))}
BODIES |= {f"six islands of level {level}": (ball, box_uv(ball.vertices, ball.faces))
           for level, ball in enumerate(map(icosphere, range(4)))}


def painted(points: np.ndarray) -> np.ndarray:
    """(N, 3) float32 colours that are the same on both sides of x = 0."""
    x, y, z = points.T
    return np.stack([128 + 90 * np.sin(3 * y + abs(x)), 128 + 90 * np.sin(2 * z + 1), 128 + 90 * np.sin(abs(x))], 1)


def filled(vertices, faces, uv, known_at, rows=128):
    """Colours of the texels, the true ones, and where these are, if only what `known_at` returns of them is known."""
    layout = lay_out(uv, rows, 2 * rows)
    at = layout.interpolate(vertices, faces, slice(None))
    known = known_at(at).astype(np.float32)
    colours = np.where(known[:, None] > 0, painted(at), 255).astype(np.float32)
    return fill(colours, known, layout, vertices.astype(np.float32), faces), painted(at), at


def from_one_side(at: np.ndarray) -> np.ndarray:
    """How far points (N, 3) are known that somebody saw from +x."""
    return np.clip(1 + 4 * at[:, 0], 0, 1)


@pytest.mark.parametrize("ball, uv", BODIES.values(), ids=BODIES)
def test_the_unseen_side_has_the_colours_of_its_mirror_image(ball, uv):
    found, true, at = filled(ball.vertices, ball.faces, uv, from_one_side)
    error = np.abs(found - true).mean(1)
    assert error[at[:, 0] > 0].max() < 1e-3
    unseen = error[at[:, 0] < -0.3]
    assert np.median(unseen) < 2 and np.quantile(unseen, 0.9) < 8


def test_vertices_without_faces_change_nothing_however_far_they_are():
    ball = icosphere(1)
    lonely = with_lonely(Mesh(ball.vertices, ball.faces))
    uv = box_uv(ball.vertices, ball.faces)
    expected, found = (filled(*mesh, uv, from_one_side)[0] for mesh in ((ball.vertices, ball.faces), lonely))
    np.testing.assert_allclose(found, expected, atol=0.5)


def test_a_sheet_without_a_mirror_plane_is_filled_from_around():
    vertices, faces = grid(6, 6)
    uv = vertices[faces][..., :2] / 6
    found, true, at = filled(vertices + [9, 0, 0], faces, uv, lambda at: np.abs(at[:, :2] - [12, 3]).max(1) > 1)
    known = np.abs(at[:, :2] - [12, 3]).max(1) > 1
    np.testing.assert_allclose(found[known], true[known], atol=1e-3)
    around = true[known & (np.abs(at[:, :2] - [12, 3]).max(1) < 2)]
    assert (found[~known] > around.min(0) - 1).all() and (found[~known] < around.max(0) + 1).all()


def test_a_part_that_was_never_seen_gets_one_colour_and_never_that_of_what_is_not_known():
    vertices, faces = two_balls()
    uv = box_uv(icosphere(1).vertices, icosphere(1).faces) * [0.5, 1]
    found, _, at = filled(vertices, faces, np.concatenate([uv, uv + [0.5, 0]]), lambda at: at[:, 0] < 2)
    unseen = found[at[:, 0] > 2]
    assert np.ptp(unseen, axis=0).max() < 1 and unseen.mean(0) == pytest.approx(found[at[:, 0] < 2].mean(0), abs=25)


def test_what_is_between_known_values_is_harmonic_whatever_the_mesh():
    """Linear where its border is linear, and what is given where there is no border."""
    vertices, faces = with_lonely(grid(5, 7))
    inner = ((vertices > [0, 0, -1]) & (vertices < [7, 5, 1])).all(1)
    twice = np.concatenate([vertices, vertices + [0, 0, 9]])
    wanted = np.stack([twice[:, 0], twice[:, 1] - 2 * twice[:, 0]], 1)
    count = len(vertices)
    lonely = ~np.isin(np.arange(2 * count), np.r_[faces.ravel(), faces.ravel() + count])
    free = np.concatenate([inner, np.ones(count, bool)]) | lonely
    found = _harmonic(np.where(free[:, None], 99.0, wanted), (~free).astype(float),
                      np.concatenate([faces, faces + count]), screening=1e-6, elsewhere=np.array([5.0, 6.0]))
    hidden = lonely | (np.arange(2 * count) >= count)
    np.testing.assert_allclose(found[~hidden], wanted[~hidden], atol=1e-3)
    np.testing.assert_allclose(found[hidden], np.tile([5.0, 6.0], (hidden.sum(), 1)), atol=1e-6)
