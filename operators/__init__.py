"""What the user can do."""

import bpy

from ..properties import (
    backend_activity,
    frames_activity,
    reconstruction_activity,
    segmentation_activity,
    training_activity,
)
from ..scene import overlay
from .backend import VMR_OT_check_backend, VMR_OT_install_backend
from .cancel import (
    VMR_OT_cancel,
    VMR_OT_cancel_backend,
    VMR_OT_cancel_frames,
    VMR_OT_cancel_masks,
    VMR_OT_cancel_training,
)
from .child import cancel
from .doubtful_frame import VMR_OT_doubtful_frame, VMR_OT_doubtful_mask
from .export_fbx import VMR_OT_export_fbx
from .export_gltf import VMR_OT_export_gltf
from .find_masks import VMR_OT_find_masks
from .frames import VMR_OT_frames_as_images, VMR_OT_use_mask
from .hints import VMR_OT_add_hint, VMR_OT_remove_hint
from .load_result import VMR_OT_load_recent, VMR_OT_load_result, VMR_OT_open_job_folder
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
from .set_up_scene import VMR_OT_set_up_scene
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
ACTIVITIES = (reconstruction_activity, backend_activity, training_activity, segmentation_activity,
              frames_activity)


def register() -> None:
    for cls in CLASSES:
        bpy.utils.register_class(cls)
    overlay.register()


def unregister() -> None:
    overlay.unregister()
    for activity in ACTIVITIES:
        cancel(activity)
    forget_previews()
    for activity in ACTIVITIES:
        activity.reset()
    for cls in reversed(CLASSES):
        bpy.utils.unregister_class(cls)
