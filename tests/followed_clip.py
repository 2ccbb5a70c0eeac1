"""What a perfect fit of a rigged object would give: its template, turned by known amounts, filmed by a known camera."""

from types import SimpleNamespace

import bpy
import numpy as np
from mathutils import Matrix, Quaternion, Vector
from video_mesh_reconstruction.scene.template import gather, rigged_object
from video_mesh_reconstruction.vmr_backend.reconstruction import Reconstruction
from video_mesh_reconstruction.vmr_backend.templates.rig_file import RIG_NAME, save_rig
from wobbling_ball import wobbling_ball

ARMATURE = "armature"


def followed(rig: bpy.types.Object, folder, numbers=range(105, 117), swing=0.5, front="AUTO", grown=None,
             poses=None):
    """The rig's file in a folder, and the result of a perfect fit of it, as `.result`; `.truth` are its vertices
    (T, V, 3) in the armature's space.

    swing   radians by which each bone turns to and fro against the one above, and the root once around
    poses   (T, 4, 4) of each bone by name, armature space, in place of that swing
    grown   factor of the size of all parts below a bone: (its name, factor), as a fit that adapts the shape finds it
    """
    arrays, facts = gather(rigged_object(rig), front)
    folder.mkdir(exist_ok=True)
    save_rig(folder / RIG_NAME, arrays, facts | {ARMATURE: rigged_object(rig).armature.name, "shape": "keep"})
    rest, parents = arrays["bone_rest"].astype(np.float64), arrays["bone_parents"]
    weights = dense(arrays)
    time, names = np.arange(len(numbers)), facts["bone_names"]
    moves = np.tile(np.eye(4), (len(time), len(parents), 1, 1))
    for bone, parent in enumerate(parents):
        rng = np.random.default_rng(bone)
        axis = Vector(rng.normal(size=3)).normalized()
        for t in time:
            angle = 2 * np.pi * t / len(time) if parent < 0 else swing * np.sin(0.6 * t + bone)
            turn = np.array(Quaternion(axis, angle).to_matrix())
            about = np.eye(4)
            about[:3, :3], about[:3, 3] = turn, rest[bone, :3, 3] - turn @ rest[bone, :3, 3]
            moves[t, bone] = about if parent < 0 else moves[t, parent] @ about
    if poses is not None:
        to_template = arrays["placement"].astype(np.float64)
        own = [rigged_object(rig).armature.data.bones[name].matrix_local for name in names]
        for bone, name in enumerate(names):
            moves[:, bone] = to_template @ poses[name] @ np.linalg.inv(own[bone]) @ np.linalg.inv(to_template)
    vertices = arrays["vertices"].astype(np.float64)
    posed = skinned(vertices, weights, moves)
    low, high = vertices.min(0), vertices.max(0)
    scale, origin = 1 / (high - low).max(), (low + high) / 2
    to_object = np.eye(4)
    to_object[:3, :3] *= scale
    to_object[:3, 3] = -scale * origin
    in_object = rest.copy()
    in_object[:, :3, 3] = scale * (rest[:, :3, 3] - origin)
    pose = to_object @ moves @ np.linalg.inv(to_object) @ in_object
    ball = wobbling_ball(numbers)
    result = Reconstruction(
        ball.frames, f32(scale * (posed - origin)), f32(scale * (vertices - origin)), arrays["faces"], arrays["uv"],
        ball.camera_rotation, ball.camera_translation, ball.intrinsics, ball.image_size, bone_parents=parents,
        bone_rest=f32(in_object), bone_pose=f32(pose), skin_weights=weights, bone_names=np.array(names),
        bone_lengths=f32(scale * arrays["bone_lengths"]))
    result.check("a perfect fit")
    back = np.linalg.inv(arrays["placement"].astype(np.float64))
    return SimpleNamespace(result=result, truth=posed @ back[:3, :3].T + back[:3, 3], arrays=arrays, facts=facts)


def dense(arrays) -> np.ndarray:
    """(V, B) weights."""
    weights = np.zeros((len(arrays["vertices"]), len(arrays["bone_parents"])), np.float32)
    np.add.at(weights, (np.arange(len(weights))[:, None], arrays["skin_bones"]), arrays["skin_weights"])
    return weights


def skinned(vertices, weights, moves) -> np.ndarray:
    """(T, V, 3) linear blend skinning of vertices (V, 3) by bones' moves (T, B, 4, 4)."""
    blended = np.einsum("vb,tbij->tvij", weights, moves)
    return np.einsum("tvij,vj->tvi", blended[..., :3, :3], vertices) + blended[..., :3, 3]


def placed(matrix: Matrix, points) -> np.ndarray:
    """Points (..., 3) through a matrix of Blender's."""
    numbers = np.array(matrix, np.float64)
    return points @ numbers[:3, :3].T + numbers[:3, 3]


def f32(values) -> np.ndarray:
    return np.ascontiguousarray(values, np.float32)
