"""How Rigify, the add-on inside every Blender, makes a control rig from a template's bones: a table, without imports.

The names and the tree are those of Rigify's animal metarigs. `connect` and `prepare` take Blender's armature from
whoever has it: an armature of the quadruped's bones, connected and prepared, is a metarig, and *Generate Control Rig*
makes a rig from it. Its deform bones are named `DEF-` and the bone's name; those of a leg are halved (`DEF-shin.L`,
`DEF-shin.L.001`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

COLLECTIONS = (("Head", 1), ("Spine", 2), ("Spine (Tweak)", 3), ("Tail", 4), ("Arm.L (IK)", 6), ("Arm.L (FK)", 7),
               ("Arm.L (Tweak)", 8), ("Arm.R (IK)", 6), ("Arm.R (FK)", 7), ("Arm.R (Tweak)", 8), ("Leg.L (IK)", 10),
               ("Leg.L (FK)", 11), ("Leg.L (Tweak)", 12), ("Leg.R (IK)", 10), ("Leg.R (FK)", 11),
               ("Leg.R (Tweak)", 12), ("Root", 14))
"""Bone collections and their row of buttons in Rigify's panel."""


@dataclass(frozen=True)
class RigifyBone:
    """What Rigify is told of one bone: its collection; where a part of a rig begins there, that part's type, its
    parameters, and the collections of its further controls."""

    collection: str
    rig: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    references: Mapping[str, str] = field(default_factory=dict)


def _leg(first: str, rest: tuple[str, ...], side: str, limb: str, rig: str) -> dict[str, RigifyBone]:
    # The bones' x axes are the hinges already, so that controls turn as the template's bones do.
    start = RigifyBone(f"{limb}.{side} (IK)", rig, {"limb_type": "paw", "rotation_axis": "x",
                                                    "ik_local_location": False},
                       {"fk": f"{limb}.{side} (FK)", "tweak": f"{limb}.{side} (Tweak)"})
    return {f"{first}.{side}": start, **{f"{name}.{side}": RigifyBone(f"{limb}.{side} (IK)") for name in rest}}


QUADRUPED: dict[str, RigifyBone] = {
    "spine.004": RigifyBone("Spine", "spines.basic_spine", {"pivot_pos": 2},
                            {"tweak": "Spine (Tweak)", "fk": "Spine (Tweak)"}),
    **{f"spine.00{number}": RigifyBone("Spine") for number in (5, 6, 7, 8)},
    "spine.003": RigifyBone("Tail", "spines.basic_tail", {"connect_chain": False}, {"tweak": "Spine (Tweak)"}),
    **{name: RigifyBone("Tail") for name in ("spine.002", "spine.001", "spine")},
    "spine.009": RigifyBone("Spine", "spines.super_head", {"connect_chain": True}, {"tweak": "Spine (Tweak)"}),
    "spine.010": RigifyBone("Spine"), "spine.011": RigifyBone("Spine"),
    **{name: RigifyBone("Head", "basic.super_copy") for name in ("jaw", "ear.L", "ear.R")},
    **{f"shoulder.{side}": RigifyBone(f"Arm.{side} (FK)", "basic.super_copy") for side in "LR"},
    **{name: bone for side in "LR" for name, bone in (
        _leg("front_thigh", ("front_shin", "front_foot", "front_toe"), side, "Arm", "limbs.front_paw")
        | _leg("thigh", ("shin", "foot", "toe"), side, "Leg", "limbs.rear_paw")).items()},
}
"""By the names of the quadruped template's bones."""
CONNECTED = ("spine.005", "spine.006", "spine.007", "spine.008", "spine.002", "spine.001", "spine", "spine.010",
             "spine.011", *(f"{name}.{side}" for side in "LR" for name in (
                 "front_shin", "front_foot", "front_toe", "shin", "foot", "toe")))
"""Bones that begin where their parent ends, and are a chain with it."""

CONTROLS = {**{name: name for name in ("spine.003", "spine.002", "spine.001", "spine", "jaw", "ear.L", "ear.R",
                                       "shoulder.L", "shoulder.R")},
            **{f"{name}.{side}": f"{name}_fk.{side}" for side in "LR" for name in (
                "front_thigh", "front_shin", "front_foot", "thigh", "shin", "foot")},
            **{f"{name}.{side}": f"{name}.{side}" for side in "LR" for name in ("front_toe", "toe")},
            "spine.011": "head"}
"""Controls of the generated rig that turn one bone each, in its own axes, where a leg's property is 1 that turns IK
into FK. Those of the spine and the neck turn several."""
SWITCHES = tuple(f"{name}_parent.{side}" for side in "LR" for name in ("front_thigh", "thigh"))
"""Controls of the generated rig that have that property of a leg."""


def connect(edit_bones: Any) -> None:
    """Connect the chains of an armature in edit mode, given its edit bones."""
    for name in CONNECTED:
        edit_bones[name].use_connect = True


def prepare(armature: Any) -> None:
    """Make a metarig of an armature object that has the quadruped's bones, in object mode, Rigify being enabled."""
    made = {}
    for name, row in COLLECTIONS:
        made[name] = armature.data.collections.get(name) or armature.data.collections.new(name)
        made[name].rigify_ui_row = row
        if " (" in name and "IK" not in name:
            made[name].rigify_ui_title = name[name.index(" (") + 1:]
    for name, bone in QUADRUPED.items():
        posed = armature.pose.bones[name]
        for old in list(posed.bone.collections):
            old.unassign(posed)
        made[bone.collection].assign(posed)
        posed.rigify_type = bone.rig
        for parameter, value in bone.parameters.items():
            setattr(posed.rigify_parameters, parameter, value)
        for reference, collection in bone.references.items():
            listed = getattr(posed.rigify_parameters, f"{reference}_coll_refs")
            listed.clear()
            listed.add().set_collection(made[collection])
            extra = f"{reference}_layers_extra"
            if hasattr(posed.rigify_parameters, extra):
                setattr(posed.rigify_parameters, extra, True)
