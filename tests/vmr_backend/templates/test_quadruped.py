"""The quadruped template that comes along: a sound mesh, UV map, skin and tree."""

from pathlib import Path

import numpy as np
import pytest

from vmr_backend.templates import template as template_module
from vmr_backend.templates.rigify import QUADRUPED
from vmr_backend.templates.template import Template

FILE = Path(template_module.__file__).with_name("quadruped.safetensors")


@pytest.fixture(scope="module")
def quadruped():
    return Template.load(FILE)


@pytest.fixture(scope="module")
def image(quadruped):
    """Which vertex is each one's mirror image."""
    mirrored = quadruped.vertices * [-1, 1, 1]
    apart = np.linalg.norm(quadruped.vertices[:, None] - mirrored, axis=-1)
    assert apart.min(1).max() < 1e-5
    return apart.argmin(1)


def edges_of(faces):
    return np.vstack([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])


def test_it_is_small_and_says_what_it_is(quadruped):
    assert FILE.stat().st_size < 3e6
    assert len(quadruped.card.bone_names) <= 40 and set(quadruped.card.bone_names) == set(QUADRUPED)
    assert quadruped.card.shape == "adapt" and quadruped.card.category == "quadruped"
    assert 1500 <= len(quadruped.vertices) <= 2600
    assert np.ptp(quadruped.vertices, axis=0).max() == pytest.approx(1, abs=1e-3)


def test_it_is_one_closed_oriented_surface(quadruped):
    edges = edges_of(quadruped.faces)
    directed = {tuple(edge) for edge in edges.tolist()}
    assert len(directed) == len(edges) and all((b, a) in directed for a, b in directed)
    label = np.arange(len(quadruped.vertices))
    for _ in range(200):
        np.minimum.at(label, edges[:, 0], label[edges[:, 1]])
        np.minimum.at(label, edges[:, 1], label[edges[:, 0]])
    assert (label == 0).all()
    # A sphere, its front counter-clockwise from outside.
    assert len(quadruped.vertices) - len(edges) // 2 + len(quadruped.faces) == 2
    a, b, c = (quadruped.vertices[quadruped.faces[:, k]].astype(float) for k in range(3))
    assert (a * np.cross(b, c)).sum() > 0


def test_its_triangles_are_even(quadruped):
    a, b, c = (quadruped.vertices[quadruped.faces[:, k]].astype(float) for k in range(3))
    area = np.linalg.norm(np.cross(b - a, c - a), axis=1)
    shape = 2 * np.sqrt(3) * area / sum(((u - v) ** 2).sum(1) for u, v in ((a, b), (b, c), (c, a)))
    assert shape.min() > 0.3 and np.percentile(shape, 5) > 0.75


def test_left_and_right_are_alike(quadruped, image):
    dense, twins = quadruped.dense_weights, quadruped.bone_twins
    assert np.abs(dense[image] - dense[:, twins]).max() < 1e-3
    heads = quadruped.bone_rest[:, :3, 3]
    assert np.abs(heads[twins] * [-1, 1, 1] - heads).max() < 1e-5
    assert np.abs(quadruped.shape_vertices[:, image] * [-1, 1, 1] - quadruped.shape_vertices).max() < 1e-4
    # Left and right bend by the same sign, twist and swing by opposite ones.
    limits = quadruped.joint_limits
    assert np.array_equal(limits[twins, 0], limits[:, 0])
    assert np.allclose(limits[twins, 1:], -limits[:, 1:, ::-1])


def test_limbs_hold_their_own_side_alone(quadruped):
    names, dense, x = quadruped.card.bone_names, quadruped.dense_weights, quadruped.vertices[:, 0]
    held = {group: sum(dense[:, names.index(name)] for name in names if name.startswith(group) and name[-2:] == side)
            for side in (".L",) for group in ("front_", "thigh", "shin", "foot", "toe")}
    fore, hind = held["front_"], held["thigh"] + held["shin"] + held["foot"] + held["toe"]
    assert not (np.minimum(fore, hind) > 0).any()
    assert not ((fore + hind > 0.02) & (x < -0.01)).any()
    assert not ((fore + hind > 0) & (x < -0.05)).any()
    assert (dense.max(0) > 0.25).all(), "each bone holds something"


def test_bones_are_as_rigify_needs_them(quadruped):
    assert (quadruped.bone_rest[:, 0, 0] > 0.5).all(), "x axes point to the left"
    parents = dict(zip(quadruped.card.bone_names, quadruped.bone_parents, strict=True))
    tails = quadruped.bone_rest[:, :3, 3] + quadruped.bone_rest[:, :3, 1] * quadruped.bone_lengths[:, None]
    for chain in ("spine.005 spine.006 spine.007 spine.008", "spine.002 spine.001 spine", "spine.010 spine.011",
                  "shin.L foot.L toe.L", "front_shin.R front_foot.R front_toe.R"):
        for name in chain.split():
            number = quadruped.card.bone_names.index(name)
            assert np.allclose(quadruped.bone_rest[number, :3, 3], tails[parents[name]], atol=1e-5)


def test_islands_of_the_uv_map_do_not_overlap(quadruped):
    uv, size = quadruped.uv.astype(float), 1024
    assert uv.min() >= 0 and uv.max() <= 1
    counts = np.zeros((size, size), int)
    a, b = uv[:, 1] - uv[:, 0], uv[:, 2] - uv[:, 0]
    assert (a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0] > 0).all()
    for triangle in uv * size:
        first, last = np.floor(triangle.min(0)).astype(int), np.ceil(triangle.max(0)).astype(int)
        x, y = np.meshgrid(*(np.arange(low, high) + 0.5 for low, high in zip(first, last, strict=True)), indexing="ij")
        inside = np.ones(x.shape, bool)
        for p, q in zip(triangle, np.roll(triangle, -1, 0), strict=True):
            inside &= (q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0]) > 0
        counts[first[0]:last[0], first[1]:last[1]] += inside
    assert counts.max() == 1 and (counts > 0).mean() > 0.45
