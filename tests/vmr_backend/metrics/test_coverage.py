"""Which vertices are seen: closed forms for spheres, plates that hide each other, and the picture's border."""

from dataclasses import replace

import numpy as np
import pytest

from vmr_backend.geometry.sphere import icosphere
from vmr_backend.metrics.coverage import coverage, never_seen
from vmr_backend.outputs.picture import look_from
from vmr_backend.reconstruction import Reconstruction

RADIUS, DISTANCE = 0.5, 1.6
LIMB = 0.09
"""Sine of the angle about the horizon within which a vertex may count as either: half an edge of the mesh."""


def mesh_seen_from(vertices, faces, azimuths, distance=DISTANCE, size=(200, 160), centre=(100.0, 80.0)):
    count, elevation = len(azimuths), 15.0
    rotation = np.stack([look_from(azimuth, elevation) for azimuth in azimuths])
    return Reconstruction(
        np.arange(count, dtype=np.int32), np.repeat(np.float32(vertices)[None], count, 0), np.float32(vertices),
        np.int32(faces), np.zeros((len(faces), 3, 2), np.float32), rotation.astype(np.float32),
        np.tile(np.float32([0, 0, distance]), (count, 1)), np.tile(np.float32([150, 150, *centre]), (count, 1)),
        np.int32(size))


def sphere_seen_from(*azimuths, level=4, **options):
    sphere = icosphere(level)
    return mesh_seen_from(RADIUS * sphere.vertices, sphere.faces, azimuths, **options)


def height_over_horizon(result, t):
    """(V,) sine of the height of frame t's camera over the horizon of each vertex: seen where above 0."""
    camera = -result.camera_rotation[t].T.astype(float) @ result.camera_translation[t]
    toward = camera - result.rest_vertices
    normal = result.rest_vertices / RADIUS
    return (toward * normal).sum(1) / np.linalg.norm(toward, axis=1)


@pytest.mark.parametrize("level", [3, 4, 5])
def test_of_a_sphere_the_cap_above_the_camera_s_horizon_is_seen(level):
    result = sphere_seen_from(40.0, level=level)
    seen, height = coverage(result), height_over_horizon(result, 0)
    assert seen.dtype == np.float32
    # A camera near a sphere sees less than half of it.
    assert 0.2 < (height > 0).mean() < 0.4
    sure = np.abs(height) > LIMB
    assert sure.mean() > 0.8
    assert ((seen == 1) == (height > 0))[sure].all() and set(np.unique(seen)) == {0, 1}


def test_frames_are_counted_over_more_than_one_batch():
    azimuths = np.arange(11) * 33.0
    result = sphere_seen_from(*azimuths, level=3)
    heights = np.stack([height_over_horizon(result, t) for t in range(11)])
    sure = (np.abs(heights) > LIMB).all(0)
    assert sure.sum() > 100
    assert coverage(result)[sure] == pytest.approx((heights > 0).mean(0)[sure])


def test_the_share_never_seen_is_that_of_the_sphere_s_area():
    result = sphere_seen_from(0.0)
    cap = (1 - RADIUS / DISTANCE) / 2       # Archimedes: a cap's area is as its height
    assert never_seen(result, coverage(result)) == pytest.approx(1 - cap, abs=0.02)
    both = sphere_seen_from(0.0, 0.0)
    turned = np.diag(np.float32([-1, 1, -1]))
    opposite = replace(both, camera_rotation=np.stack([both.camera_rotation[0], turned @ both.camera_rotation[0]]))
    assert never_seen(opposite, coverage(opposite)) == pytest.approx(1 - 2 * cap, abs=0.04)
    assert never_seen(result, np.ones(len(result.rest_vertices))) == 0


def test_a_plate_hides_what_stands_behind_it():
    line = np.linspace(-0.5, 0.5, 9)
    x, z = (grid.ravel() for grid in np.meshgrid(line, line))
    index = np.arange(81).reshape(9, 9)
    a, b, c, d = index[:-1, :-1].ravel(), index[:-1, 1:].ravel(), index[1:, 1:].ravel(), index[1:, :-1].ravel()
    faces = np.concatenate([np.stack([a, b, c], 1), np.stack([a, c, d], 1)])
    small, large = np.stack([0.36 * x, 0 * x - 0.3, 0.36 * z], 1), np.stack([x, 0 * x + 0.3, z], 1)
    plates = mesh_seen_from(np.concatenate([small, large]), np.concatenate([faces, faces + 81]), [0.0], 3.0)
    level = np.float32([[[1, 0, 0], [0, 0, -1], [0, 1, 0]]])    # from the front: along y
    seen = coverage(replace(plates, camera_rotation=level))
    assert seen[:81].all()
    # From 3 before the middle, the small plate's edge at 0.18 and depth 2.7 hides up to 0.18 * 3.3 / 2.7 at 3.3.
    hidden = np.maximum(np.abs(x), np.abs(z)) < 0.18 * 3.3 / 2.7
    assert (seen[81:] == 0)[hidden].all() and seen[81:][~hidden].all()


def test_what_lies_outside_of_the_picture_is_not_seen():
    result = sphere_seen_from(40.0, centre=(0.0, 80.0))     # the sphere's middle is on the left border
    seen, height = coverage(result), height_over_horizon(result, 0)
    column, edge = result.projected()[0][:, 0], 4
    assert not seen[column < -edge].any() and seen[(column > edge) & (height > LIMB)].all()
    behind = replace(result, camera_translation=np.float32([[0, 0, -5]]))
    away = replace(result, camera_translation=np.float32([[50, 0, 5]]))
    assert not coverage(behind).any() and not coverage(away).any()


def test_a_small_subject_is_seen_as_well_as_a_large_one():
    near, far = sphere_seen_from(70.0, distance=30.0), sphere_seen_from(70.0, distance=300.0)
    assert (coverage(near) == coverage(far)).mean() > 0.96
