"""How far the joints of a template turn: as its file has it, else by what kind of joint each seems to be."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np

from .template import Template

BALL, TRUNK = np.radians(75), np.radians(50)
"""Most of each component of a turn: of limbs where they leave the trunk, and of joints along the middle."""
TWIST, SIDEWAYS = np.radians(25), np.radians(20)
"""Most that a hinge turns about its bone, and out of its plane."""
FOLDED, STRAIGHT = np.radians(110), np.radians(8)
"""A hinge bends so far beyond rest, and stretches so little beyond straight."""
STIFF = np.radians(2)
"""Most that a twist bone turns otherwise than about itself."""
SPREAD = np.radians(30)
"""Most that the upper parts of a leg turn out of the plane in which it walks."""
HANGING = 0.5
"""Cosine to straight down of a bone that is part of a leg; arms of a body at rest stand out to the sides."""
BENT = np.radians(12)
"""A joint that is bent by this much at rest shows which way it bends."""
PART = re.compile(r"([._-][LR])\.\d{3}$", re.IGNORECASE)
"""How names end of the further bones that a limb's is divided into, as Rigify's `DEF-thigh.L.001`."""


@dataclass(frozen=True)
class JointLimits:
    """How far B bones turn against those above."""

    axes: np.ndarray
    """(B, 3, 3) whose columns are the axes, in those of the bone at rest, along which the limits are: of a hinge its
    axis first, then the bone's own."""
    limits: np.ndarray
    """(B, 3, 2) least and most of each component of the axis-angle, radians."""


def limits_of(template: Template) -> JointLimits:
    """Those of the file, else by what the joints seem to be.

    A joint in the middle of a limb, which is bent at rest, is a hinge: it bends further that way, and stretches until
    it is straight, but not beyond. Other joints of legs swing to the front and back more than to the sides. Bones that
    are there to spread a twist along a limb do not bend it.
    """
    parents, rest = template.bone_parents, template.bone_rest.astype(np.float64)
    count = len(parents)
    axes = np.tile(np.eye(3), (count, 1, 1))
    if template.joint_limits is not None:
        return JointLimits(axes, template.joint_limits.astype(np.float64))
    spreads = np.array([_spreads_a_twist(template, bone, parent) for bone, parent in enumerate(parents)])
    children = np.bincount(parents[(parents >= 0) & ~spreads], minlength=count)
    of_limb = template.bone_twins != np.arange(count)
    limits = np.where(of_limb, BALL, TRUNK)[:, None, None] * np.tile([-1.0, 1.0], (count, 3, 1))
    for bone, parent in enumerate(parents):
        if spreads[bone]:
            limits[bone] = [[-STIFF, STIFF], [-TWIST, TWIST], [-STIFF, STIFF]]
            continue
        if not of_limb[bone]:
            continue
        own = rest[bone, :3, 1]
        if -own[2] > HANGING:
            axes[bone] = _hinge(rest[bone], np.array([1.0, 0, 0]))
            limits[bone] = [[-BALL, BALL], [-TWIST, TWIST], [-SPREAD, SPREAD]]
        if parent < 0 or not of_limb[parent] or children[parent] > 1:
            continue
        above = rest[bone, :3, 3] - rest[parent, :3, 3]
        above = above / max(np.linalg.norm(above), 1e-12)
        across = np.cross(above, own)
        bent = np.arctan2(np.linalg.norm(across), above @ own)
        if BENT < bent < np.pi - BENT:
            axes[bone] = _hinge(rest[bone], across)
            limits[bone] = [[-bent - STRAIGHT, FOLDED], [-TWIST, TWIST], [-SIDEWAYS, SIDEWAYS]]
    return JointLimits(axes, limits)


def _spreads_a_twist(template: Template, bone: int, parent: int) -> bool:
    """Whether a bone is there to spread a twist along the one above it, by its name, and runs in line with it."""
    if parent < 0:
        return False
    name, above = (template.card.bone_names[one] for one in (bone, parent))
    along, along_above = template.bone_rest[[bone, parent], :3, 1].astype(np.float64)
    is_part = PART.sub(r"\1", name) == PART.sub(r"\1", above)
    return ("twist" in name.lower() or is_part) and bool(along @ along_above > np.cos(BENT))


def _hinge(rest: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """(3, 3) axes of a bone with a rest pose (4, 4), in its own: what of an axis (3,) in space runs across it, then its
    length, and what is across both."""
    inside = rest[:3, :3].T @ axis * [1, 0, 1]
    inside /= np.linalg.norm(inside)
    return np.column_stack([inside, [0, 1, 0], np.cross(inside, [0, 1, 0])])
