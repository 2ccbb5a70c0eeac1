"""Bones for an animator: one tree, alike on both sides, joints between the parts, rigid frames, names of pairs."""

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from vmr_backend.bodies.kinematics import Armature, Tree, armature_of, joints_of, tree_of


def tube(way, count=40, radius=0.05) -> np.ndarray:
    """(8 * count, 3) rings of vertices round a broken line through the points `way`."""
    way = np.asarray(way, float)
    reach = np.concatenate([[0], np.linalg.norm(np.diff(way, axis=0), axis=1).cumsum()])
    at = np.linspace(0, reach[-1], count)
    middle = np.stack([np.interp(at, reach, way[:, k]) for k in range(3)], 1)
    along = np.gradient(middle, axis=0)
    x = np.cross(along, [0.31, 0.59, 0.74])
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    y = np.cross(along, x)
    y /= np.linalg.norm(y, axis=1, keepdims=True)
    angle = np.arange(8) * np.pi / 4
    ring = np.cos(angle)[:, None, None] * x + np.sin(angle)[:, None, None] * y
    return (middle + radius * ring).reshape(-1, 3)


def held(vertices, centres, width=0.08) -> np.ndarray:
    """(V, B) a smooth share of the bones nearest to each vertex, at most four."""
    square = ((vertices[:, None] - np.asarray(centres, float)) ** 2).sum(-1) / width**2
    far = np.sort(square, 1)[:, [min(3, square.shape[1] - 1)]]
    share = np.where(square <= far, np.exp(square.min(1, keepdims=True) - square), 0)
    return share / share.sum(1, keepdims=True)


def twins(centres) -> np.ndarray:
    """(B,) the bone at each one's mirrored place; itself where it stands in the middle."""
    centres = np.asarray(centres, float)
    return np.linalg.norm(centres[:, None] * [-1, 1, 1] - centres, axis=2).argmin(1)


def armature(vertices, weights, twin) -> Armature:
    return armature_of(vertices, weights, tree_of(vertices, weights, twin), twin)


CHAIN = np.stack([np.zeros(5), np.linspace(-0.4, 0.4, 5), np.zeros(5)], 1)
"""Centres of five bones in a capsule along y; the middle one is in the body's middle."""


def chain(order=range(5)) -> Armature:
    vertices = tube([[0, -0.5, 0], [0, 0.5, 0]])
    return armature(vertices, held(vertices, CHAIN)[:, list(order)], np.arange(5))


ANIMAL = {
    "middle": (0, 0, 0.1), "chest": (0, -0.2, 0.1), "neck": (0, -0.38, 0.16), "head": (0, -0.52, 0.28),
    "rump": (0, 0.2, 0.1), "tail": (0, 0.38, 0.18), "tip": (0, 0.52, 0.26),
    "hip.L": (0.1, 0.2, -0.1), "foot.L": (0.1, 0.2, -0.32), "hip.R": (-0.1, 0.2, -0.1), "foot.R": (-0.1, 0.2, -0.32),
    "arm.L": (0.1, -0.2, -0.1), "hand.L": (0.1, -0.2, -0.32), "arm.R": (-0.1, -0.2, -0.1),
    "hand.R": (-0.1, -0.2, -0.32),
}


def animal_held(order=tuple(ANIMAL)) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices of a body with head, tail and four legs, the weights of its bones in some order, and their twins."""
    parts = [tube([(0, -0.3, 0.1), (0, 0.3, 0.1)], radius=0.08),
             tube([(0, -0.3, 0.1), (0, -0.4, 0.18), (0, -0.6, 0.32)]),
             tube([(0, 0.3, 0.1), (0, 0.4, 0.2), (0, 0.6, 0.3)])]
    parts += [tube([(x, y, 0.04), (x, y, -0.45)], radius=0.04) for x in (0.1, -0.1) for y in (0.2, -0.2)]
    vertices, centres = np.concatenate(parts), [ANIMAL[name] for name in order]
    return vertices, held(vertices, centres, 0.07), twins(centres)


def animal(order=tuple(ANIMAL)) -> tuple[np.ndarray, Armature]:
    vertices, weights, twin = animal_held(order)
    return vertices, armature(vertices, weights, twin)


def noisy(weights, amount, seed=0) -> np.ndarray:
    """Shares that differ from one side to the other, as after a fit."""
    uneven = weights * np.random.default_rng(seed).uniform(1 - amount, 1 + amount, weights.shape)
    return uneven / uneven.sum(1, keepdims=True)


def given_names(found: Armature, order=tuple(ANIMAL)) -> list[str]:
    return [order[index] for index in found.order]


def assert_sound(found: Armature, count: int) -> None:
    """All that holds whatever the body."""
    assert sorted(found.order) == list(range(count))
    assert found.parents[0] == -1 and (found.parents[1:] >= 0).all(), "one root"
    assert (found.parents < np.arange(count)).all(), "parents before their children"
    turn, lengths = found.rest[:, :3, :3], found.lengths
    np.testing.assert_allclose(turn @ turn.transpose(0, 2, 1), np.eye(3)[None].repeat(count, 0), atol=1e-9)
    np.testing.assert_allclose(np.linalg.det(turn), 1)
    assert (found.rest[:, 3] == [0, 0, 0, 1]).all() and (lengths > 0).all() and np.isfinite(found.rest).all()
    assert len(set(found.names)) == count and found.names.dtype.kind == "U"
    assert all(0 < len(name.encode()) <= 63 for name in found.names)


def assert_pairs_are_named_alike(found: Armature, twin) -> None:
    """Those of the root's own pair aside, of which only one can be the root."""
    named = dict(zip(found.order, found.names, strict=True))
    tails = found.rest[:, :3, 3] + found.lengths[:, None] * found.rest[:, :3, 1]
    x = dict(zip(found.order, (found.rest[:, :3, 3] + tails)[:, 0], strict=True))
    for bone in set(range(len(twin))) - {found.order[0], twin[found.order[0]]}:
        if twin[bone] == bone:
            assert not named[bone].endswith((".L", ".R"))
        else:
            left, right = sorted((bone, twin[bone]), key=lambda b: named[b])
            assert named[left][:-2] == named[right][:-2]
            assert (named[left][-2:], named[right][-2:]) == (".L", ".R") and x[left] >= x[right]


@pytest.mark.parametrize("order", [range(5), (3, 0, 4, 2, 1)])
def test_a_chain_of_bones_is_led_by_its_middle(order):
    found = chain(order)
    assert_sound(found, 5)
    place = np.asarray(order)[found.order]
    assert place[0] == 2
    parent = {bone: place[p] for bone, p in zip(place, found.parents, strict=True) if p >= 0}
    assert parent == {1: 2, 0: 1, 3: 2, 4: 3}


def test_joints_of_a_chain_lie_within_it_at_the_boundaries_of_its_parts():
    found = chain()
    y = {bone: found.rest[k, 1, 3] for k, bone in enumerate(found.order)}
    assert [y[1], y[0], y[3], y[4]] == pytest.approx([-0.1, -0.3, 0.1, 0.3], abs=0.02)
    assert np.abs(found.rest[:, [0, 2], 3]).max() < 0.01, "in the middle of the tube"


def test_bones_of_a_chain_point_to_the_next_joint_and_the_last_to_the_end():
    found = chain()
    for k, bone in enumerate(found.order):
        if bone == 2:
            continue
        outwards = np.sign(bone - 2)
        np.testing.assert_allclose(found.rest[k, :3, 1], [0, outwards, 0], atol=0.03)
        end = 0.5 if bone in (0, 4) else 0.3
        assert abs(found.rest[k, 1, 3]) + found.lengths[k] == pytest.approx(end, abs=0.04)


@pytest.mark.parametrize("seed", range(3))
def test_an_animals_bones_are_joined_as_its_body_is(seed):
    order = tuple(np.random.default_rng(seed).permutation(list(ANIMAL)))
    _, found = animal(order)
    assert_sound(found, len(ANIMAL))
    names = given_names(found, order)
    assert names[0] == "middle"
    parent = {name: names[p] for name, p in zip(names, found.parents, strict=True) if p >= 0}
    assert parent == {
        "chest": "middle", "neck": "chest", "head": "neck", "rump": "middle", "tail": "rump", "tip": "tail",
        **{f"{a}.{side}": b + c for side in "LR" for a, b, c in (
            ("arm", "chest", ""), ("hand", "arm", f".{side}"), ("hip", "rump", ""), ("foot", "hip", f".{side}"))}}


def test_a_bone_ends_where_its_furthest_child_begins():
    _, found = animal()
    tails = found.rest[:, :3, 3] + found.lengths[:, None] * found.rest[:, :3, 1]
    for bone in range(len(found.parents)):
        joints = found.rest[found.parents == bone, :3, 3]
        if len(joints):
            furthest = joints[np.linalg.norm(joints - found.rest[bone, :3, 3], axis=1).argmax()]
            np.testing.assert_allclose(tails[bone], furthest, atol=1e-6)


def test_feet_point_down_and_z_is_up_where_a_bone_lies_flat():
    _, found = animal()
    for name, frame in zip(given_names(found), found.rest, strict=True):
        if name.startswith(("hand", "foot")):
            assert frame[2, 1] < -0.9
        if abs(frame[2, 1]) < 0.5:
            assert frame[2, 2] > 0.8


def test_mirror_images_share_a_number_and_the_left_is_at_positive_x():
    vertices, found = animal()
    assert vertices[:, 0].max() > 0
    named = dict(zip(given_names(found), found.names, strict=True))
    for part in ("hip", "foot", "arm", "hand"):
        left, right = named[f"{part}.L"], named[f"{part}.R"]
        assert left.endswith(".L") and right.endswith(".R") and left[:-2] == right[:-2]
    for part in ("middle", "chest", "neck", "head", "rump", "tail", "tip"):
        assert not named[part].endswith((".L", ".R"))
    assert named["middle"] == "root"
    numbers = [int(named[part].removeprefix("chain").split("_")[0]) for part in ("head", "hand.L", "foot.L", "tip")]
    assert numbers == sorted(numbers), "from front to back"


def test_bones_of_a_chain_are_numbered_outwards():
    _, found = animal()
    for bone, parent in enumerate(found.parents):
        chain_of, _, place = found.names[bone].partition("_")
        if parent > 0 and found.names[parent].startswith(chain_of + "_"):
            assert int(place.split(".")[0]) == int(found.names[parent].partition("_")[2].split(".")[0]) + 1


@pytest.mark.parametrize("paired", [False, True], ids=["all central", "random twins"])
@pytest.mark.parametrize("count", [1, 2, 30, 128])
@pytest.mark.parametrize("seed", range(2))
def test_bones_anywhere_make_a_sound_armature(count, seed, paired):
    random = np.random.default_rng([count, seed])
    vertices = random.normal(size=(642, 3)) * [0.2, 0.5, 0.3]
    weights, twin = held(vertices, vertices[random.permutation(642)[:count]]), np.arange(count)
    if paired:
        one, other = random.permutation(count)[: 2 * (count // 3)].reshape(2, -1)
        twin[one], twin[other] = other, one
    found = armature(vertices, weights, twin)
    assert_sound(found, count)
    assert_pairs_are_named_alike(found, twin)


def test_bones_that_hold_the_same_still_have_directions_and_lengths():
    vertices = tube([[0, -0.5, 0], [0, 0.5, 0]])
    found = armature(vertices, np.full((len(vertices), 3), 1 / 3), np.arange(3))
    assert_sound(found, 3)
    assert found.lengths.min() > 0.01


def test_a_body_turned_about_the_vertical_has_the_same_tree():
    vertices = tube([[0, -0.5, 0], [0, 0.5, 0]])
    weights, turn = held(vertices, CHAIN), Rotation.from_euler("z", 0.05).as_matrix()
    there, here = (armature(v, weights, np.arange(5)) for v in (vertices @ turn.T, vertices))
    assert np.array_equal(there.order, here.order) and np.array_equal(there.parents, here.parents)
    np.testing.assert_allclose(there.rest[:, :3, 3], here.rest[:, :3, 3] @ turn.T, atol=1e-9)


def assert_alike_on_both_sides(tree: Tree, twin, atol) -> None:
    """Bones in the middle aside that only one of a pair can have."""
    for bone, parent in enumerate(tree.parents):
        if parent < 0 or twin[bone] != bone:
            assert parent < 0 or tree.parents[twin[bone]] == twin[parent]
        elif twin[parent] != parent:
            continue
        np.testing.assert_allclose(tree.joints[twin[bone]], tree.joints[bone] * [-1, 1, 1], atol=atol)


@pytest.mark.parametrize("noise", [0.0, 0.05, 0.3])
@pytest.mark.parametrize("seed", range(4))
def test_left_and_right_hang_alike_even_if_their_weights_differ_a_little(noise, seed):
    order = tuple(np.random.default_rng(seed).permutation(list(ANIMAL)))
    vertices, weights, twin = animal_held(order)
    uneven = noisy(weights, noise, seed)
    tree = tree_of(vertices, uneven, twin)
    assert_alike_on_both_sides(tree, twin, 0.01 + 0.1 * noise)
    assert np.array_equal(tree.parents, tree_of(vertices, weights, twin).parents)
    assert_pairs_are_named_alike(armature(vertices, uneven, twin), twin)


@pytest.mark.parametrize("seed", range(8))
def test_a_symmetric_body_of_any_shape_has_a_symmetric_tree(seed):
    random = np.random.default_rng(seed)
    half = np.abs(random.normal(size=(400, 3))) * [0.2, 1, 1] + [0.02, 0, 0]
    middle = random.normal(size=(200, 3)) * [0, 0.7, 0.7]
    vertices = np.concatenate([half, half * [-1, 1, 1], middle])
    pick = random.permutation(400)[:8]
    chosen = np.concatenate([pick, 400 + pick, 800 + np.arange(5)])[random.permutation(21)]
    twin = twins(vertices[chosen])
    tree = tree_of(vertices, noisy(held(vertices, vertices[chosen], 0.2), 1e-3, seed), twin)
    (root,) = np.flatnonzero(tree.parents < 0)
    assert twin[root] == root, "in the middle"
    assert_alike_on_both_sides(tree, twin, 0.01)


def two_legs(bones=3) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Vertices, weights and twins of a body that is two legs and has no bone in the middle."""
    vertices = np.concatenate([tube([(x, 0, 0.4), (x, 0, -0.4)], radius=0.04) for x in (0.1, -0.1)])
    centres = [(x, 0, z) for x in (0.1, -0.1) for z in np.linspace(0.3, -0.3, bones)]
    return vertices, held(vertices, centres, 0.1), twins(centres)


def test_without_a_bone_in_the_middle_one_of_a_pair_leads_and_the_other_hangs_on_it():
    vertices, weights, twin = two_legs()
    tree = tree_of(vertices, weights, twin)
    (root,) = np.flatnonzero(tree.parents < 0)
    assert root in (1, 4) and tree.parents[twin[root]] == root, "each leg's middle is the body's nearest"
    others = [bone for bone in range(6) if bone not in (root, twin[root])]
    assert all(tree.parents[bone] == (1 if bone < 3 else 4) for bone in others)
    found = armature_of(vertices, weights, tree, twin)
    assert_sound(found, 6)
    assert_pairs_are_named_alike(found, twin)


def with_idle(count) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The animal with one bone more in the middle, or a pair of them, that holds nothing."""
    vertices, weights, twin = animal_held()
    idle = len(twin) + np.arange(count)
    return vertices, np.pad(weights, ((0, 0), (0, count))), np.concatenate([twin, idle[::-1]])


@pytest.mark.parametrize("count", [1, 2])
def test_bones_that_hold_nothing_are_sound_and_change_nothing_for_the_others(count):
    vertices, weights, twin = with_idle(count)
    tree = tree_of(vertices, weights, twin)
    expected = tree_of(*animal_held()).parents
    kept = tree.parents[:-count] < len(expected)
    assert np.array_equal(tree.parents[:-count][kept], expected[kept])
    found = armature_of(vertices, weights, tree, twin)
    assert_sound(found, len(twin))
    assert_pairs_are_named_alike(found, twin)


def test_a_joint_is_the_middle_of_what_a_bone_and_its_parent_share():
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [2, 2, 0], [3, 0, 0]])
    weights = np.array([[1.0, 0, 0], [0.5, 0.5, 0], [0.25, 0.75, 0], [0, 0, 1]])
    joints = joints_of(vertices, weights, np.array([-1, 0, 1]))
    shares = np.array([0, 0.25, 0.1875, 0])
    means = weights.T @ vertices / weights.sum(0)[:, None]
    np.testing.assert_allclose(joints[0], means[0])
    np.testing.assert_allclose(joints[1], shares @ vertices / shares.sum(), atol=1e-5)
    np.testing.assert_allclose(joints[2], (means[1] + means[2]) / 2, err_msg="those that share nothing meet half-way")
