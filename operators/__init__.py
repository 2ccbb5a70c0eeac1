"""What the user can do."""

import bpy

from ..properties import ACTIVITIES
from ..scene import context_owner, front_arrow, overlay
from . import (
    backend,
    cancel,
    doubtful_frame,
    export_fbx,
    export_gltf,
    frames,
    hints,
    jobs,
    load_result,
    marks,
    masks,
    models,
    preview,
    reconstruct,
    runs,
    set_up_scene,
    settings,
    show_front,
    train_model,
)

MODULES = (backend, cancel, doubtful_frame, export_fbx, export_gltf, frames, hints, jobs, load_result, marks, masks,
           models, preview, reconstruct, set_up_scene, settings, show_front, train_model)
CLASSES = [cls for module in MODULES for name, cls in vars(module).items() if name.startswith("VMR_OT_")]
register_classes, unregister_classes = bpy.utils.register_classes_factory(CLASSES)  # type: ignore[attr-defined]


def register() -> None:
    register_classes()
    overlay.register()
    front_arrow.register()
    context_owner.register()


def unregister() -> None:
    context_owner.unregister()
    front_arrow.unregister()
    overlay.unregister()
    runs.abandon_all()
    preview.forget_previews()
    for activity in ACTIVITIES.values():
        activity.reset()
    for workspace in bpy.data.workspaces:  # hints of what is drawn with the mouse
        workspace.status_text_set(None)
    unregister_classes()
