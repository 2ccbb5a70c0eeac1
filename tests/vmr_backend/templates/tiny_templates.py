"""Templates of a few triangles."""

import numpy as np

from vmr_backend.templates.template import HELD_BY, Template, TemplateCard


def tiny_template(**changed) -> Template:
    """Two triangles, the second held by the second of two bones, in template space; fields may be changed."""
    vertices = np.float32([[0, 0, 0], [0.1, 0, 0], [0, 0, 1], [0.1, 0, 2]])
    skin_bones = np.zeros((4, HELD_BY), np.int32)
    skin_bones[2:, 0] = 1
    skin_weights = np.zeros((4, HELD_BY), np.float32)
    skin_weights[:, 0] = 1
    rest = np.tile(np.float32([[1, 0, 0, 0], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]]), (2, 1, 1))
    rest[1, 2, 3] = 1
    arrays = {
        "vertices": vertices, "faces": np.int32([[0, 1, 2], [1, 3, 2]]), "uv": np.zeros((2, 3, 2), np.float32),
        "skin_bones": skin_bones, "skin_weights": skin_weights, "bone_parents": np.int32([-1, 0]), "bone_rest": rest,
        "bone_lengths": np.float32([1, 1]), "bone_twins": np.int32([0, 1])}
    card = changed.pop("card", TemplateCard("pole", ("lower", "upper")))
    return Template(card, **(arrays | changed))


def full_template() -> Template:
    """With all that a template may have."""
    return tiny_template(
        card=TemplateCard("pole", ("lower", "upper"), ("foot", "top"), "pole", "adapt", "GPL", "pole.blend: pole"),
        joint_limits=np.tile(np.float32([-1, 1]), (2, 3, 1)), pose_mean=np.zeros((2, 3), np.float32),
        pose_covariance=np.eye(6, dtype=np.float32), shape_vertices=np.ones((1, 4, 3), np.float32),
        shape_heads=np.ones((1, 2, 3), np.float32), shape_tails=np.ones((1, 2, 3), np.float32),
        landmark_weights=np.float32([[1, 0, 0, 0], [0, 0, 0.5, 0.5]]), placement=np.eye(4, dtype=np.float32))
