"""Cameras and a mean shape from keypoints: recovered through noise, gaps and moving limbs, in the frame promised."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vmr_backend.annotations import ABSENT, HIDDEN, VISIBLE, Category
from vmr_backend.job import BadInput
from vmr_backend.training.structure_from_motion.model import Tracks, left_of
from vmr_backend.training.structure_from_motion.poses import cameras_of
from vmr_backend.training.structure_from_motion.solve import structure_of

POSITIONS = {"nose": (0, -0.5, 0.2), "neck": (0, -0.3, 0.15), "back": (0, 0, 0.14), "tail": (0, 0.5, 0.05),
          "belly": (0, 0, -0.1)}
"""Of an animal whose front is -y, left at +x."""
for end, y in (("front", -0.2), ("hind", 0.25)):
    # The right of a pair comes first, so that only names tell.
    for side, x in (("right", -0.09), ("left", 0.09)):
        POSITIONS |= {f"{side}_{end}_{joint}": (x, y, z) for joint, z in (("top", 0.0), ("knee", -0.2), ("foot", -0.4))}
POSITIONS |= {"right_ear": (-0.08, -0.42, 0.3), "left_ear": (0.08, -0.42, 0.3)}
NAMES = list(POSITIONS)
MIRROR = Category("animal", tuple(NAMES)).mirror
SHAPE = np.array(list(POSITIONS.values()), float)


def cameras(count, rng, lowest=-10, highest=30, roll=5):
    """Rotations (N, 3, 3) from all sides, elevations and rolls in degrees."""
    azimuth, elevation = rng.uniform(0, 2 * np.pi, count), np.radians(rng.uniform(lowest, highest, count))
    ahead = np.stack([-np.sin(azimuth) * np.cos(elevation), np.cos(azimuth) * np.cos(elevation), -np.sin(elevation)], 1)
    right = np.stack([np.cos(azimuth), np.sin(azimuth), 0 * azimuth], 1)
    turn = Rotation.from_rotvec(np.radians(roll) * rng.normal(size=(count, 1)) * [0, 0, 1]).as_matrix()
    return turn @ np.stack([right, np.cross(ahead, right), ahead], 1)


def walking(count, swing, rng):
    """Shapes (N, K, 3) whose legs swing by angles of a standard deviation, radians."""
    shapes = np.tile(SHAPE, (count, 1, 1))
    for end in ("front", "hind"):
        for side in ("left", "right"):
            top, *below = (NAMES.index(f"{side}_{end}_{joint}") for joint in ("top", "knee", "foot"))
            for joint in below:
                angle, length = swing * rng.normal(size=count), 0.2 if joint == below[0] else 0.4
                shapes[:, joint] = shapes[:, top] + length * np.stack([0 * angle, np.sin(angle), -np.cos(angle)], 1)
    return shapes


def pictured(shapes, rotations, rng, noise=0.005, absent=0.0):
    """Keypoints (N, K, 2) and their states; a keypoint is hidden behind its twin where that is clearly nearer."""
    turned = np.einsum("nij,nkj->nki", rotations, shapes)
    scale, shift = rng.uniform(1, 1.6, len(shapes)), 0.1 * rng.normal(size=(len(shapes), 2))
    points = scale[:, None, None] * turned[..., :2] + shift[:, None] + noise * rng.normal(size=turned[..., :2].shape)
    seen = np.where(turned[..., 2] > turned[:, MIRROR, 2] + 0.06, HIDDEN, VISIBLE).astype(np.uint8)
    seen[rng.random(seen.shape) < absent] = ABSENT
    return np.where(seen[..., None] > ABSENT, points, np.nan), seen


def tracks(points, seen, mirror=MIRROR):
    return Tracks.of(points, seen, mirror, left_of(NAMES))


def angles(found, true):
    """Degrees by which rotations differ."""
    return np.degrees(Rotation.from_matrix(found @ true.swapaxes(1, 2)).magnitude())


def recovered(swing=0.0, roll=5, **pictures):
    rng = np.random.default_rng(1)
    rotations = cameras(100, rng, roll=roll)
    points, seen = pictured(walking(100, swing, rng), rotations, rng, **pictures)
    return structure_of(tracks(points, seen)), rotations, points, seen


@pytest.fixture(scope="module")
def rigid():
    return recovered(absent=0.2)


def test_cameras_of_a_rigid_shape_are_recovered_through_noise_and_gaps(rigid):
    structure, rotations, *_ = rigid
    error = angles(structure.rotations, rotations)
    assert np.median(error) < 2 and error.max() < 10


def test_the_shape_is_in_the_frame_promised(rigid):
    found = rigid[0].keypoints
    assert np.ptp(found, axis=0).max() == pytest.approx(1)
    assert np.allclose(found[list(MIRROR)] * [-1, 1, 1], found, atol=1e-9)
    true = SHAPE - SHAPE.mean(0) * [0, 1, 1]
    found = found - found.mean(0)
    assert np.abs(found - true).max() < 0.03, "left at +x, front to -y, z up, and not mirrored"


def test_the_model_of_the_camera_is_the_one_promised(rigid):
    structure, _, points, seen = rigid
    turned = np.einsum("nij,kj->nki", structure.rotations, structure.keypoints)[..., :2]
    away = structure.scales[:, None, None] * turned + structure.shifts[:, None] - points
    error = np.sqrt(np.nanmean(np.where(seen[..., None] > ABSENT, away, np.nan) ** 2, (1, 2)) * 2)
    assert np.allclose(error, structure.errors) and structure.errors.max() < 0.03
    assert np.allclose(np.linalg.det(structure.rotations), 1)


def test_limbs_may_move():
    structure, rotations, *_ = recovered(swing=0.4, absent=0.1)
    error = angles(structure.rotations, rotations)
    assert np.median(error) < 8 and np.percentile(error, 95) < 30
    spread = dict(zip(NAMES, structure.spreads, strict=True))
    assert spread["left_front_foot"] > 1.5 * spread["back"], "what moves is known to"


def test_what_is_hidden_tells_near_from_far():
    # Looked up at: without anything hidden, the other of the two solutions would be taken.
    rng = np.random.default_rng(2)
    rotations = cameras(100, rng, lowest=-40, highest=0)
    points, seen = pictured(walking(100, 0.0, rng), rotations, rng)
    assert np.median(angles(structure_of(tracks(points, seen)).rotations, rotations)) < 5


def test_animals_are_looked_down_on_where_nothing_is_hidden():
    rng = np.random.default_rng(2)
    rotations = cameras(100, rng, highest=40)
    points, seen = pictured(walking(100, 0.0, rng), rotations, rng)
    seen[seen == HIDDEN] = VISIBLE
    assert np.median(angles(structure_of(tracks(points, seen)).rotations, rotations)) < 5


def test_pictures_need_not_be_upright():
    structure, rotations, *_ = recovered(roll=50)
    assert np.median(angles(structure.rotations, rotations)) < 5


def test_poses_of_other_pictures_are_found_and_those_without_keypoints_are_marked(rigid):
    rng = np.random.default_rng(3)
    rotations = cameras(40, rng)
    points, seen = pictured(walking(40, 0.0, rng), rotations, rng)
    seen[7] = ABSENT
    found = cameras_of(rigid[0], tracks(points, seen))
    assert np.isinf(found.errors[7]) and np.isfinite(np.delete(found.errors, 7)).all()
    assert np.median(angles(found.rotations, rotations)) < 3


def test_names_tell_left_from_right():
    names = ["right_leg", "left_leg", "leg.L", "leg.R", "left_over"]
    assert left_of(names).tolist() == [False, True, True, False, False]


@pytest.mark.parametrize(("change", "told"), [
    (lambda points, seen, mirror: (points[:, :3], seen[:, :3], (0, 1, 2)), "keypoints: found 3, needs 4"),
    (lambda points, seen, mirror: (points[:5], seen[:5], mirror), "pictures: found 5 with 4 or more keypoints, needs"),
    (lambda points, seen, mirror: (points, 0 * seen, mirror), "pictures: found 0"),
    (lambda points, seen, mirror: (points * [1, 0], seen, mirror), "all on one line"),
    (lambda points, seen, mirror: (points, seen, range(len(mirror))), "no pair that mirrors"),
], ids=["keypoints", "pictures", "none", "line", "pairs"])
def test_what_determines_no_shape_is_refused_in_one_line(change, told):
    rng = np.random.default_rng(0)
    points, seen = pictured(walking(20, 0.0, rng), cameras(20, rng), rng)
    with pytest.raises(BadInput, match=told):
        structure_of(tracks(*change(points, seen, MIRROR)))
