"""Renders of objects: keypoints, masks and cameras agree with what Blender itself computes."""

import bpy
import numpy as np
import pytest
from bpy_extras.object_utils import world_to_camera_view
from mathutils import Matrix, Vector
from mathutils.bvhtree import BVHTree
from video_mesh_reconstruction.scene.studio.image import mask_of
from video_mesh_reconstruction.scene.studio.keypoints import choose_keypoints
from video_mesh_reconstruction.scene.studio.render import Studio
from video_mesh_reconstruction.scene.studio.subject import motions_of, subject_of
from video_mesh_reconstruction.scene.studio.variation import RenderVariation, draw, rotation_towards
from video_mesh_reconstruction.vmr_backend.annotations import HIDDEN, VISIBLE

SIZE = 64


def variation(number=0, motions=(), **changes):
    """One drawn by chance, but for what is changed."""
    drawn = draw(3, number, motions, [], has_material=True)
    return RenderVariation(**(vars(drawn) | changes))


def rendered(subject, drawn, names=(), size=SIZE):
    """The studio, its render and the keypoints."""
    studio, keypoints = Studio(subject, size, "CYCLES", samples=2), choose_keypoints(subject, names)
    return studio, studio.render(drawn, keypoints), keypoints


def seen_by_blender(studio, points):
    """(K, 2) pixels to which Blender itself projects points of object space by the camera of the studio."""
    studio.scene.view_layers[0].update()
    views = [world_to_camera_view(studio.scene, studio.camera, Vector(map(float, point))) for point in points]
    return np.array([(view.x * studio.size, (1 - view.y) * studio.size) for view in views])


def in_object_space(mesh_object, frame):
    """Evaluated vertices (V, 3) of a mesh, and heads of the bones of its armature, in the armature's axes."""
    scene, rig = bpy.context.scene, mesh_object.parent
    scene.frame_set(int(frame), subframe=frame % 1)
    depsgraph = bpy.context.evaluated_depsgraph_get()
    evaluated, posed = mesh_object.evaluated_get(depsgraph), rig.evaluated_get(depsgraph)
    place, rotation, _ = posed.matrix_world.decompose()
    inverse = (Matrix.Translation(place) @ rotation.to_matrix().to_4x4()).inverted()
    vertices = [inverse @ evaluated.matrix_world @ vertex.co for vertex in evaluated.data.vertices]
    heads = {bone.name: inverse @ posed.matrix_world @ bone.head for bone in posed.pose.bones}
    return np.array(vertices), heads, [tuple(face.vertices) for face in evaluated.data.polygons]


def test_keypoints_are_where_blender_sees_the_bones(goat):
    (motion,) = motions_of(subject_of(goat))
    drawn = variation(motions=[motion], proportions=(1, 1, 1), frame=12.4)
    names = ("head", "fore.L", "hind.R", "tail")
    studio, render, _ = rendered(subject_of(goat), drawn, names)
    _, heads, _ = in_object_space(goat, 12.4)
    expected = seen_by_blender(studio, [heads[name] for name in names])
    np.testing.assert_allclose(render.camera.project(render.keypoints), expected, atol=0.01)


def test_masks_are_the_silhouettes_that_rays_find(goat):
    drawn = variation(number=4, motions=motions_of(subject_of(goat)), proportions=(1, 1, 1))
    studio, render, _ = rendered(subject_of(goat), drawn)
    vertices, _, faces = in_object_space(goat, drawn.frame)
    tree, camera = BVHTree.FromPolygons(vertices.tolist(), faces), render.camera
    rows, columns = np.mgrid[:SIZE, :SIZE] + 0.5
    ways = np.stack([(columns - camera.principal[0]) / camera.focal, (rows - camera.principal[1]) / camera.focal,
                     np.ones((SIZE, SIZE))], -1) @ camera.rotation
    hit = np.array([[tree.ray_cast(Vector(camera.centre), Vector(way))[0] is not None for way in row] for row in ways])
    mask = mask_of(render.pixels)
    assert (mask & hit).sum() / (mask | hit).sum() > 0.93
    corners = seen_by_blender(studio, vertices)
    found = np.argwhere(mask)[:, ::-1]
    np.testing.assert_allclose([found.min(0), found.max(0) + 1], [corners.min(0), corners.max(0)], atol=1.2)


@pytest.mark.parametrize("number", range(4))
def test_the_subject_fills_its_share_and_is_wholly_inside(goat, number):
    drawn = variation(number, motions_of(subject_of(goat)))
    _, render, _ = rendered(subject_of(goat), drawn)
    mask = mask_of(render.pixels)
    sides = np.ptp(np.argwhere(mask), 0) + 1
    assert sides.max() / SIZE == pytest.approx(drawn.fill, abs=2.5 / SIZE)
    assert not (mask[0].any() or mask[-1].any() or mask[:, 0].any() or mask[:, -1].any())


def test_the_front_is_seen_from_the_front_and_the_left_at_the_right(goat):
    """Front -y, up z, whatever the object's place in the world."""
    drawn = variation(rotation=rotation_towards(0, 0), proportions=(1, 1, 1))
    _, render, keypoints = rendered(subject_of(goat), drawn, ("head", "tail", "hind.L", "hind.R"))
    (head, tail, left, right) = render.camera.project(render.keypoints)
    depth = render.keypoints @ render.camera.rotation[2]
    assert depth[0] < depth[1] and left[0] > right[0] + 3 and head[1] < tail[1]
    _, render, _ = rendered(subject_of(goat), variation(rotation=rotation_towards(90, 0)), ("head", "tail"))
    (head, tail) = render.camera.project(render.keypoints)
    assert head[0] < tail[0] - 20


@pytest.mark.parametrize("azimuth, elevation, roll", [(0, 0, 0), (35, 20, -7), (-120, -10, 3)])
def test_a_camera_is_where_its_angles_say(azimuth, elevation, roll):
    rotation = rotation_towards(azimuth, elevation, roll)
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    assert np.linalg.det(rotation) == pytest.approx(1)
    x, y, z = -rotation[2]  # from the subject to the camera
    assert np.degrees(np.arcsin(z)) == pytest.approx(elevation)
    assert np.degrees(np.arctan2(x, -y)) == pytest.approx(azimuth)
    up = rotation @ [0, 0, 1]
    assert np.degrees(np.arctan2(up[0], -up[1])) == pytest.approx(-roll)


def test_a_joint_behind_the_body_is_hidden_and_one_before_it_seen(goat):
    drawn = variation(rotation=rotation_towards(90, 0), proportions=(1, 1, 1))
    _, render, _ = rendered(subject_of(goat), drawn, ("hind.L", "hind.R", "head tip"))
    assert render.states.tolist() == [VISIBLE, HIDDEN, VISIBLE]


def test_proportions_stretch_the_subject_and_its_keypoints(goat):
    names = ("fore.L tip", "head")
    plain, tall = (rendered(subject_of(goat), variation(proportions=(1, 1, height)), names)[1]
                   for height in (1.0, 1.1))
    np.testing.assert_allclose(tall.keypoints[:, 2], 1.1 * plain.keypoints[:, 2], atol=1e-5)
    np.testing.assert_allclose(tall.keypoints[:, :2], plain.keypoints[:, :2], atol=1e-5)


def test_a_bone_that_grows_takes_along_what_hangs_on_it_and_no_later_picture_shows_it(goat):
    names = ("neck", "head", "tail tip")
    studio = Studio(subject_of(goat), SIZE, "CYCLES", samples=1)
    keypoints = choose_keypoints(subject_of(goat), names)
    drawn = {"motions": motions_of(subject_of(goat)), "proportions": (1, 1, 1)}
    plain, grown, again = (studio.render(variation(**drawn, bones=bones), keypoints).keypoints
                           for bones in ((), (("neck", 1.5),), ()))
    length = [np.linalg.norm(places[1] - places[0]) for places in (plain, grown)]
    assert length[1] == pytest.approx(1.5 * length[0], rel=1e-4)
    np.testing.assert_allclose(grown[[0, 2]], plain[[0, 2]], atol=1e-5)
    np.testing.assert_allclose(again, plain, atol=1e-6)
