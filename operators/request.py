"""From a scene to the request of a reconstruction, or the reason why it cannot be made yet."""

from pathlib import Path
from typing import Any

import bpy

from ..jobs.folder import GatheredRig, prepare
from ..jobs.models import find_model
from ..preferences import interpreter, jobs_folder, models_folder, preferences
from ..properties import (
    changed_settings,
    clip_of,
    hand_over,
    inputs_of,
    kind_of,
    method_of,
    props_of,
    reconstruction_activity,
    subjects_of,
)
from ..scene.clip import ClipSource, clip_source, frame_number, mask_source
from ..scene.hints import facings
from ..scene.masks import check_masks
from ..scene.own_rig import ARMATURE_KEY
from ..scene.solve import lens_of, solve_of
from ..scene.template import gather, rigged_object
from ..vmr_backend.job import BadInput, JobRequest

WITHOUT_ALPHA = {".bmp", ".jpeg", ".jpg"}


def obstacle(context: bpy.types.Context) -> str:
    """Why no reconstruction can start now, for the tooltip of the button; empty where it can."""
    if reconstruction_activity.running:
        return "A reconstruction is running"
    if clip_of(context) is None:
        return "Open a movie clip first"
    props = props_of(context.scene)
    if kind_of(props).obstacle:
        return kind_of(props).obstacle
    if kind_of(props).is_own and inputs_of(clip_of(context)).rig is None:
        return "Choose your rigged object first"
    if method_of(props).needs_model and not props.model.strip():
        return "Choose a category model first"
    if interpreter() is None:
        return "Install the backend first"
    return ""


def prepared(context: bpy.types.Context, clip: bpy.types.MovieClip, warnings: list[str] | None = None) -> Path:
    """The job folder of the scene's request, with all that a run needs in it; BadInput where there can be none.

    warnings   receives what is doubtful about the user's object, where that is the subject
    """
    kind = kind_of(props_of(context.scene))
    rig = _rig_of(inputs_of(clip)) if kind.is_own else None
    if rig is not None and warnings is not None:
        warnings += rig.facts["warnings"]
    request = request_of(context, clip, kind.template or None if rig is None else rig.digest)
    return prepare(jobs_folder(), request, rig)


def _rig_of(inputs) -> GatheredRig:
    """What is taken of the object that is the subject; BadInput where it is no rigged one."""
    if inputs.rig is None:
        raise BadInput("Object: found none; needs the armature, or the mesh, that is to follow the clip")
    if not inputs.rig.users_scene:  # it was deleted, and is there for the sake of this choice only
        raise BadInput(f"{inputs.rig.name}: found in no scene of this file; choose another object")
    rigged = rigged_object(inputs.rig)
    arrays, facts = gather(rigged, inputs.rig_front)
    return GatheredRig(arrays, facts | {"shape": inputs.rig_shape, ARMATURE_KEY: rigged.armature.name})


def request_of(context: bpy.types.Context, clip: bpy.types.MovieClip, template: str | None = None) -> JobRequest:
    """The request in the backend's terms, with a template; BadInput where clip, masks or frames do not allow one."""
    hand_over(context.scene, apart=True)
    props, inputs = props_of(context.scene), inputs_of(clip)
    source = clip_source(clip, context.scene if props.use_scene_range else None)
    masks = mask_source(inputs.masks, clip.library) if inputs.masks else None
    if masks is None and Path(clip.filepath).suffix.lower() in WITHOUT_ALPHA:
        raise BadInput(f"masks: none chosen, and {clip.name} has no alpha channel; needs a folder of images or a "
                       "movie, white where the subject is")
    if masks == source.path:
        raise BadInput(f"masks: {masks} holds the clip's own pictures; masks need a file or folder of their own")
    if masks is not None:
        check_masks(masks, clip)
    return JobRequest(
        clip=source.path, files=source.files, masks=masks, first=source.first, last=source.last,
        shown=source.shown, pixel_aspect=source.pixel_aspect,
        method=kind_of(props).method, model=_model_of(props), shape=_shape_of(props, inputs),
        template=template, preset=props.preset,
        settings=changed_settings(props), device=preferences().device or "auto",
        renderer=preferences().renderer, seed=props.seed,
        **_subject_of(inputs, clip),
        **_priors_of(context.scene, clip, source)).check()


def _model_of(props) -> str | None:
    """Path of the category model that the method needs or starts from; None where there is none."""
    if not method_of(props).takes_model:
        return None
    name = (props.model if method_of(props).needs_model else props.start_model).strip()
    return str(find_model(bpy.path.abspath(name), models_folder()).path) if name else None


def _shape_of(props, inputs) -> str | None:
    """Folder of the result that the method starts from; None where there is none."""
    folder = inputs.start_shape.strip()
    return bpy.path.abspath(folder) if method_of(props).takes_shape and folder else None


def _subject_of(inputs, clip: bpy.types.MovieClip) -> dict[str, Any]:
    """Which subject the request is about, as its fields."""
    if inputs.subject_by == "LABEL":
        return {"subject": inputs.subject}
    if inputs.subject_by == "BOX":
        return {"box": [float(side) for side in inputs.box], "at": frame_number(clip, inputs.box_frame)}
    return {}


def _priors_of(scene: bpy.types.Scene, clip: bpy.types.MovieClip, source: ClipSource) -> dict[str, Any]:
    """Priors on the camera from clip and hints, as the request's fields."""
    of_clip = subjects_of(clip)
    solve = solve_of(clip, source.first, source.last) if of_clip.use_camera_solve else None
    priors: dict[str, Any] = {"camera_solve": solve, "hints": facings(scene, clip) or None}
    if solve or of_clip.use_clip_lens:
        lens = lens_of(clip)
        priors |= {"focal_length": lens.focal_length, "principal_point": lens.principal_point}
    return priors
