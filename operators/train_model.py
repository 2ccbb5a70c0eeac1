"""Train Category Model from Object: pictures of the active object, and a model that learns from them."""

import sys
from pathlib import Path

import bpy

from ..jobs.models import install_model, read_model
from ..jobs.training import BLEND_NAME, Training, TrainingRequest, can_resume_training, prepare_training
from ..preferences import interpreter, jobs_folder, models_folder, preferences
from ..properties import props_of, training_activity
from ..scene.subject import fingerprint, subject_of
from .child import FollowsChild, save_copy


class VMR_OT_train_model(FollowsChild, bpy.types.Operator):
    """Render pictures of the active object in many poses, from all sides, and train a model on them; Esc cancels"""

    bl_idname = "vmr.train_model"
    bl_label = "Train Category Model from Object"

    start_over: bpy.props.BoolProperty(
        name="Start Over", options={"HIDDEN", "SKIP_SAVE"},
        description="Begin anew where an earlier training of the same settings was stopped")

    activity = training_activity
    cancelled_text = "Training cancelled"

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

    def begin(self, context):
        request = _request_of(context)
        self._category = request.category
        folder, resume = prepare_training(jobs_folder(), request, save_copy, self.start_over)
        self.activity.folder = str(folder)
        training = Training(folder, request, interpreter(), bpy.app.binary_path or sys.executable,
                            preferences().device or "auto")
        training.start()
        if resume:
            self.activity.text = "Going on where the last training was stopped"
        return training

    def finish(self, context, training):
        path = install_model(training.model, self._category, models_folder())
        (training.folder / BLEND_NAME).unlink(missing_ok=True)
        scores = read_model(path).scores
        for scene in bpy.data.scenes:
            if not props_of(scene).model:
                props_of(scene).model = path.stem
        return f"Trained {path.stem}" + "".join(f", {name} {value:.2f}" for name, value in scores.items())

    def _end(self, context):
        outcome = super()._end(context)
        self.activity.resumable = "FINISHED" not in outcome and can_resume_training(Path(self.activity.folder))
        return outcome


def _request_of(context) -> TrainingRequest:
    active, asked = context.view_layer.objects.active, props_of(context.scene).training
    return TrainingRequest(
        object=active.name, category=asked.category.strip() or active.name, images=asked.images, size=asked.size,
        training=asked.training, steps=asked.steps, seed=asked.seed, keypoints=asked.keypoints,
        state=fingerprint(subject_of(active)))
