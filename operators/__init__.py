"""What the user can do."""

import bpy

from ..properties import ACTIVITIES
from ..scene import overlay
from .backend import VMR_OT_check_backend, VMR_OT_install_backend
from .cancel import (
    VMR_OT_cancel,
    VMR_OT_cancel_backend,
    VMR_OT_cancel_frames,
    VMR_OT_cancel_masks,
    VMR_OT_cancel_training,
)
from .doubtful_frame import VMR_OT_doubtful_frame, VMR_OT_doubtful_mask
from .export_fbx import VMR_OT_export_fbx
from .export_gltf import VMR_OT_export_gltf
from .find_masks import VMR_OT_find_masks
from .frames import VMR_OT_frames_as_images, VMR_OT_use_mask
from .hints import VMR_OT_add_hint, VMR_OT_remove_hint
from .jobs import VMR_OT_remove_old_jobs
from .load_result import (
    VMR_OT_dismiss_waiting,
    VMR_OT_load_recent,
    VMR_OT_load_result,
    VMR_OT_open_job_folder,
)
from .marks import (
    VMR_OT_add_subject,
    VMR_OT_clear_marks,
    VMR_OT_mark_box,
    VMR_OT_mark_point,
    VMR_OT_remove_subject,
)
from .models import VMR_OT_choose_model, VMR_OT_remove_model
from .preview import VMR_OT_discard_preview, VMR_OT_keep_preview, forget_previews
from .reconstruct import VMR_OT_reconstruct
from .runs import abandon_all
from .set_up_scene import VMR_OT_set_up_scene
from .settings import VMR_OT_forget_inputs, VMR_OT_reset_settings, VMR_OT_take_inputs
from .train_model import VMR_OT_train_model

CLASSES = (
    VMR_OT_reconstruct,
    VMR_OT_cancel,
    VMR_OT_keep_preview,
    VMR_OT_discard_preview,
    VMR_OT_load_result,
    VMR_OT_load_recent,
    VMR_OT_open_job_folder,
    VMR_OT_dismiss_waiting,
    VMR_OT_remove_old_jobs,
    VMR_OT_set_up_scene,
    VMR_OT_doubtful_frame,
    VMR_OT_add_subject,
    VMR_OT_remove_subject,
    VMR_OT_mark_box,
    VMR_OT_mark_point,
    VMR_OT_clear_marks,
    VMR_OT_find_masks,
    VMR_OT_cancel_masks,
    VMR_OT_doubtful_mask,
    VMR_OT_frames_as_images,
    VMR_OT_use_mask,
    VMR_OT_cancel_frames,
    VMR_OT_add_hint,
    VMR_OT_remove_hint,
    VMR_OT_reset_settings,
    VMR_OT_take_inputs,
    VMR_OT_forget_inputs,
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
    overlay.register()


def unregister() -> None:
    overlay.unregister()
    abandon_all()
    forget_previews()
    for activity in ACTIVITIES.values():
        activity.reset()
    for workspace in bpy.data.workspaces:  # hints of what is drawn with the mouse
        workspace.status_text_set(None)
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
