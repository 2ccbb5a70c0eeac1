"""The mesh in the scene is the result's at each of its frames, and passes from one to the next."""

from dataclasses import replace

import numpy as np
import pytest
from blender_view import world_vertices
from nodding_ball import nodding_ball
from wobbling_ball import wobbling_ball


@pytest.mark.parametrize("numbers", [[105, 106, 107, 108, 109], [105, 108, 109, 113], [107]])
def test_it_has_the_results_vertices_at_every_frame(add, numbers):
    added = add(wobbling_ball(numbers))
    for frame, vertices in zip(added.frames, added.result.vertices, strict=True):
        assert np.abs(world_vertices(added.mesh, frame) - vertices).max() < 1e-4


def test_between_two_frames_however_far_apart_it_is_interpolated(add):
    added = add(wobbling_ball([105, 106, 109]))
    vertices = added.result.vertices
    for frame, expected in ((11.5, (vertices[0] + vertices[1]) / 2), (13, (2 * vertices[1] + vertices[2]) / 3)):
        assert np.abs(world_vertices(added.mesh, frame) - expected).max() < 1e-4


def test_before_and_after_the_clip_the_shape_holds(add):
    added = add()
    assert np.abs(world_vertices(added.mesh, 3) - added.result.vertices[0]).max() < 1e-4
    assert np.abs(world_vertices(added.mesh, 99) - added.result.vertices[-1]).max() < 1e-4


def test_its_basis_is_the_rest_shape_and_its_keys_carry_the_clips_numbers(add):
    added = add()
    keys = added.mesh.data.shape_keys
    assert [key.name for key in keys.key_blocks] == ["Basis", *(f"frame_{n:04d}" for n in range(105, 110))]
    assert keys.use_relative
    basis = np.empty(added.result.rest_vertices.size, np.float32)
    keys.key_blocks["Basis"].points.foreach_get("co", basis)
    assert np.array_equal(basis, added.result.rest_vertices.ravel())


def test_faces_corners_and_shading(add):
    added = add()
    mesh = added.mesh.data
    faces = np.empty(added.result.faces.size, np.int32)
    mesh.loops.foreach_get("vertex_index", faces)
    assert np.array_equal(faces, added.result.faces.ravel())
    uv = np.empty(added.result.uv.size, np.float32)
    mesh.uv_layers.active.uv.foreach_get("vector", uv)
    assert np.array_equal(uv, added.result.uv.ravel())
    assert all(polygon.use_smooth for polygon in mesh.polygons)
    outward = np.array([p.normal.dot(p.center) for p in mesh.polygons])
    assert (outward > 0).all()


def test_three_hundred_frames_and_names_beyond_four_digits(add):
    added = add(wobbling_ball(range(9900, 10200)))
    assert np.abs(world_vertices(added.mesh, added.frames[250]) - added.result.vertices[250]).max() < 1e-4
    assert added.mesh.data.shape_keys.key_blocks[-1].name == "frame_10199"


@pytest.mark.parametrize("motion", ["SHAPE_KEYS", "ARMATURE"])
def test_how_often_each_vertex_was_seen_lies_on_the_mesh(add, motion):
    mesh = add(nodding_ball(range(105, 108)), motion=motion).mesh.data
    coverage = np.empty(len(mesh.vertices), np.float32)
    mesh.attributes["coverage"].data.foreach_get("value", coverage)
    assert np.array_equal(coverage, np.linspace(0, 1, len(coverage), dtype=np.float32))


def test_coverage_is_painted_from_red_over_yellow_to_green(add):
    ball = wobbling_ball(range(105, 107))
    shares = np.resize(np.float32([0, 0.25, 0.5, 1]), len(ball.rest_vertices))
    mesh = add(replace(ball, coverage=shares)).mesh.data
    assert mesh.color_attributes.active_color.name == "coverage_colour", "what Solid shading shows"
    colours = np.empty((len(shares), 4), np.float32)
    mesh.color_attributes.active_color.data.foreach_get("color_srgb", colours.ravel())
    red, yellow, green = (1, 0, 0, 1), (1, 1, 0, 1), (0, 1, 0, 1)
    assert np.abs(colours[:4] - [red, yellow, green, green]).max() < 0.01


def test_without_coverage_nothing_is_painted(add):
    assert not add().mesh.data.color_attributes
