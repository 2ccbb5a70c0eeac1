"""What the user can do."""

import bpy

from ..properties import backend_activity, reconstruction_activity, training_activity
from .backend import VMR_OT_check_backend, VMR_OT_install_backend
from .cancel import VMR_OT_cancel, VMR_OT_cancel_backend, VMR_OT_cancel_training
from .child import cancel
from .doubtful_frame import VMR_OT_doubtful_frame
from .export_fbx import VMR_OT_export_fbx
from .export_gltf import VMR_OT_export_gltf
from .hints import VMR_OT_add_hint, VMR_OT_remove_hint
from .load_result import VMR_OT_load_recent, VMR_OT_load_result, VMR_OT_open_job_folder
from .models import VMR_OT_choose_model, VMR_OT_remove_model
from .preview import VMR_OT_discard_preview, VMR_OT_keep_preview, forget_previews
from .reconstruct import VMR_OT_reconstruct
from .settings import VMR_OT_reset_settings
from .train_model import VMR_OT_train_model

CLASSES = (
    VMR_OT_reconstruct,
    VMR_OT_cancel,
    VMR_OT_keep_preview,
    VMR_OT_discard_preview,
    VMR_OT_load_result,
    VMR_OT_load_recent,
    VMR_OT_open_job_folder,
    VMR_OT_doubtful_frame,
    VMR_OT_add_hint,
    VMR_OT_remove_hint,
    VMR_OT_reset_settings,
    VMR_OT_train_model,
    VMR_OT_cancel_training,
    VMR_OT_choose_model,
    VMR_OT_remove_model,
    VMR_OT_install_backend,
    VMR_OT_check_backend,
    VMR_OT_cancel_backend,
    VMR_OT_export_fbx,
    VMR_OT_export_gltf,
)


def register() -> None:
    for cls in CLASSES:
        bpy.utils.register_class(cls)


def unregister() -> None:
    for activity in (reconstruction_activity, backend_activity, training_activity):
        cancel(activity)
    forget_previews()
    for activity in (reconstruction_activity, backend_activity, training_activity):
        activity.reset()
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
