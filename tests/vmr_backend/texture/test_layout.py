"""The texels of a UV map and lookups through it."""

import numpy as np
import pytest
from odd_meshes import box_uv, grid, moebius

from vmr_backend.geometry.resampling import spread_evenly
from vmr_backend.geometry.sphere import icosphere, spherical_uv
from vmr_backend.job import BadInput
from vmr_backend.texture.layout import lay_out
from vmr_backend.texture.view import COLUMNS, Window, look_up, look_up_uv, see, textured

SQUARE = np.array([[[0.25, 0.25], [0.75, 0.25], [0.25, 0.75]], [[0.75, 0.75], [0.25, 0.75], [0.75, 0.25]]])
CORNERS = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
FACES = np.array([[0, 1, 3], [2, 3, 1]])


def test_texels_know_their_face_and_their_place_in_it():
    layout = lay_out(SQUARE, 16, 32)
    assert len(layout.texel) == 16 * 32 / 4
    row, column = np.divmod(layout.texel, 32)
    place = layout.interpolate(CORNERS, FACES, slice(None))
    assert np.allclose(place * 0.5 + 0.25, np.stack([(column + 0.5) / 32, 1 - (row + 0.5) / 16], 1), atol=1e-5)
    assert np.array_equal(layout.texels_of(np.array([0, 1])), np.arange(len(layout.texel)))
    assert (layout.face[layout.texels_of(np.array([1]))] == 1).all()


@pytest.mark.parametrize("level", [2, 3, 4])
def test_the_spheres_map_is_one_island_and_one_unwrapped_by_sides_has_six(level):
    ball = icosphere(level)
    spread, _ = spread_evenly(ball, ball.vertices * [1, 3, 2])
    assert not lay_out(spherical_uv(ball), 64, 128).island.any()
    assert not lay_out(spherical_uv(spread).astype(np.float32), 64, 128).island.any()
    island = lay_out(box_uv(ball.vertices, ball.faces), 64, 128).island
    middle = ball.vertices[ball.faces].mean(1)
    side = 2 * np.abs(middle).argmax(1) + (np.take_along_axis(middle, np.abs(middle).argmax(1)[:, None], 1)[:, 0] > 0)
    assert len(np.unique(island)) == len(np.unique(np.stack([island, side]), axis=1).T) == 6


@pytest.mark.parametrize("mesh", [grid(4, 5), moebius(14, 2)], ids=["a sheet", "a Moebius strip"])
def test_any_mesh_gives_its_points_to_the_texels_of_its_faces(mesh):
    """Each face of the strip has an island of its own, every second one turned over."""
    count = len(mesh.faces)
    number = np.arange(count)[:, None]
    uv = np.array([(0.1, 0.1), (0.8, 0.2), (0.3, 0.9)]) + np.stack([number % 8, number // 8], 2)
    uv = np.where(number[..., None] % 2, uv[:, ::-1], uv) / [8, count // 8 + 1]
    layout = lay_out(uv, 128, 128)
    assert len(np.unique(layout.island)) == count == len(np.unique(layout.face))
    row, column = np.divmod(layout.texel, 128)
    here = np.stack([(column + 0.5) / 128, 1 - (row + 0.5) / 128], 1)
    a, b, c = uv[layout.face].transpose(1, 0, 2)
    along = np.linalg.solve(np.stack([b - a, c - a], 2), (here - a)[..., None])
    corners = mesh.vertices[mesh.faces[layout.face]]
    expected = corners[:, 0] + (along * (corners[:, 1:] - corners[:, :1])).sum(1)
    np.testing.assert_allclose(layout.interpolate(mesh.vertices, mesh.faces, slice(None)), expected, atol=1e-3)


def test_faces_that_lie_on_one_another_share_texels_and_those_beside_the_map_have_none():
    layout = lay_out(np.concatenate([SQUARE, SQUARE, SQUARE + 1]), 16, 32)
    assert set(layout.face) == {0, 1} and layout.island.tolist() == [0, 0, 0, 0, 1, 1]
    assert not len(layout.texels_of(np.array([2, 3, 4, 5])))


@pytest.mark.parametrize("uv", [SQUARE + 1, SQUARE * 0], ids=["beside the map", "in one point"])
def test_a_map_that_no_face_covers_is_refused_in_one_line(uv):
    with pytest.raises(BadInput, match="UV map: found no face that covers any of it"):
        lay_out(uv, 16, 32)


def test_spread_copies_the_nearest_texel_outward():
    layout = lay_out(SQUARE, 16, 16)
    colours = np.where((layout.texel % 16 < 8)[:, None], [[255, 0, 0]], [[0, 0, 255]]).astype(np.uint8)
    image = layout.spread(colours)
    assert (image[:, :8] == [255, 0, 0]).all() and (image[:, 8:] == [0, 0, 255]).all()


def test_gather_returns_what_interpolate_gave():
    sphere = icosphere(2)
    layout = lay_out(spherical_uv(sphere), 64, 128)
    flat = np.full((len(sphere.vertices), 2), [3.0, -1])
    means, weight = layout.gather(layout.interpolate(flat, sphere.faces, slice(None)), sphere.faces,
                                  np.ones(len(layout.texel)))
    assert np.allclose(means, flat) and np.isclose(weight.sum(), len(layout.texel))


def test_samples_at_pixel_centres_are_the_pixels():
    image = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)
    y, x = np.mgrid[0:5, 0:7].reshape(2, -1) + 0.5
    assert np.array_equal(look_up(image, x, y).reshape(image.shape), image)
    assert np.array_equal(look_up_uv(image, np.stack([x / 7, 1 - y / 5], 1)).reshape(image.shape), image)
    many = np.full(3 * COLUMNS + 1, 2.5)
    assert (look_up(image[..., 0], many, many) == image[2, 2, 0]).all()
    assert look_up(image, many[:0], many[:0]).shape == (0, 3)


def test_a_view_shows_the_texture_upright():
    texture = np.zeros((8, 8, 3), np.uint8)
    texture[:4, :4] = 200     # v > 0.5, u < 0.5: upper left
    points = np.concatenate([CORNERS * [8, -8] + [0, 8], np.ones((4, 1))], 1).astype(np.float32)
    view = see(points, np.array([1.0, 1, 0, 0]), FACES, Window(0, 0, 8, 8), 2)
    image = textured(view, CORNERS[FACES].astype(np.float32), texture)
    assert image.shape == (16, 16, 3)
    assert (image[:7, :7] == 200).all() and (image[9:] == 0).all() and (image[:, 9:] == 0).all()
