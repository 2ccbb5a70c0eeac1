"""Train Category Model from Object: renders images of the active object, and trains a model on them."""

import sys
from pathlib import Path

import bpy

from ..jobs.models import install_model, read_model
from ..jobs.training import BLEND_NAME, ObjectTrainingRequest, Training, can_resume_training, prepare_training
from ..preferences import interpreter, jobs_folder, models_folder, preferences
from ..properties import props_of, training_activity
from ..scene.identity import still_there
from ..scene.studio.subject import fingerprint, subject_of
from .runs import Run, StartsRun, save_copy


class TrainingModel(Run):
    """A category model of the active object."""

    label = "Train Category Model from Object"
    activity = training_activity
    cancelled_text = "Training cancelled"

    def __init__(self, start_over: bool):
        self._start_over = start_over

    def begin(self, context):
        active = context.view_layer.objects.active
        self.owner, self._scene = active.session_uid, context.scene.session_uid
        request = _request_of(context)
        self._category = request.category
        folder, resume = prepare_training(jobs_folder(), request, save_copy, self._start_over)
        self.activity.folder, self.activity.owner_name = str(folder), active.name
        training = Training(folder, request, interpreter(), bpy.app.binary_path or sys.executable,
                            preferences().device or "auto")
        training.start()
        if resume:
            self.activity.text = "Resuming the training that was stopped"
        return training

    def finish(self, context, training):
        path = install_model(training.model, self._category, models_folder())
        (training.folder / BLEND_NAME).unlink(missing_ok=True)
        scores = read_model(path).scores
        if still_there(bpy.data.scenes, self._scene) is not None:
            for scene in bpy.data.scenes:
                if not props_of(scene).model:
                    props_of(scene).model = path.stem
        return f"Trained {path.stem}" + "".join(f", {name} {value:.2f}" for name, value in scores.items())

    def closed(self, _context, ended):
        if ended.state != "DONE" and can_resume_training(Path(self.activity.folder)):
            self.activity.resumable.add(self.owner)
        else:
            self.activity.resumable.discard(self.owner)


class VMR_OT_train_model(StartsRun, bpy.types.Operator):
    """Render images of the active object in many poses from all sides, and train a model on them in the background"""

    bl_idname = "vmr.train_model"
    bl_label = "Train Category Model from Object"

    start_over: bpy.props.BoolProperty(
        name="Start Over", options={"HIDDEN", "SKIP_SAVE"},
        description="Start from the beginning instead of resuming a training of the same settings")

    def new_run(self):
        return TrainingModel(self.start_over)

    @classmethod
    def obstacle(cls, context):
        active = context.view_layer.objects.active
        if training_activity.running:
            return "A training is running"
        if active is None or active.type not in {"MESH", "ARMATURE", "EMPTY"}:
            return "Choose a mesh or an armature first"
        if interpreter() is None:
            return "Install the backend first"
        return ""


def _request_of(context) -> ObjectTrainingRequest:
    active, asked = context.view_layer.objects.active, props_of(context.scene).training
    return ObjectTrainingRequest(
        object=active.name, category=asked.category.strip() or active.name, images=asked.images, size=asked.size,
        training=asked.training, steps=asked.steps, seed=asked.seed, keypoints=asked.keypoints,
        state=fingerprint(subject_of(active)))
