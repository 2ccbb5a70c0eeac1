"""The tab "Reconstruct" in the Movie Clip Editor and its twin in the 3D Viewport."""

import time

import bpy

from ..properties import (
    GROUP_LABELS,
    changed_settings,
    clip_of,
    held_inputs,
    inputs_of,
    kind_of,
    method_of,
    obstacle_to_keeping,
    reconstruction_activity,
    result_in,
    settings_in,
)
from .backend import draw_backend
from .footage import draw_frames
from .known import draw_known, draw_own_rig, draw_subject
from .masks import draw_masks
from .models import draw_chosen_model, draw_models, draw_training
from .result import draw_result, draw_warnings
from .text import draw_ended, draw_progress, draw_text

PACKAGE = __package__.rpartition(".")[0]


class InTab:
    """Mixin of all panels of the tab, in either editor."""

    bl_region_type = "UI"
    bl_category = "Reconstruct"
    bl_space_type: str
    layout: bpy.types.UILayout

    def column(self) -> bpy.types.UILayout:
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        return layout.column()


class MainPanel(InTab):
    """Clip, masks, method, preset, the button and what comes of it."""

    bl_label = "Reconstruct"

    def draw(self, context):
        column, props, clip = self.column(), context.scene.vmr, clip_of(context)
        preferences = context.preferences.addons[PACKAGE].preferences
        if self.bl_space_type == "VIEW_3D":
            column.prop(props, "clip")
        if clip is not None:
            column.prop(inputs_of(clip), "masks")
            draw_text(column, context, obstacle_to_keeping(clip), "INFO")
        draw_kept(column, context)
        column.prop(props, "method")
        kind, method = kind_of(props), method_of(props)
        draw_text(column, context, kind.obstacle, "ERROR")
        if kind.is_own and clip is not None:
            draw_own_rig(column, inputs_of(clip))
        if method.needs_model:
            draw_chosen_model(column, props)
        elif method.takes_model:
            column.prop(props, "start_model")
        if method.takes_shape and clip is not None:
            column.prop(inputs_of(clip), "start_shape")
        column.prop(props, "preset")
        if changed := changed_settings(props):
            row = column.row()
            row.alignment = "RIGHT"
            row.label(text=f"{len(changed)} changed")
            row.operator("vmr.reset_settings", text="", icon="LOOP_BACK", emboss=False)
        if kind.is_own and clip is not None:
            column.prop(inputs_of(clip), "rig_motion")
        else:
            column.prop(props, "motion")
        column.prop(props, "live_preview")
        row = column.row(align=True)
        row.prop(props, "set_up_scene")
        row.operator("vmr.set_up_scene", text="", icon="SCENE_DATA")
        if not preferences.backend_found:
            column.separator()
            draw_backend(column, context, is_found=False)
        column.separator()
        if not draw_progress(column, reconstruction_activity, clip, "vmr.cancel"):
            draw_buttons(column, preferences.stopped_run(clip) if clip is not None else None)
            draw_preview(column)
        draw_waiting(column, context)
        if clip is not None and not (reconstruction_activity.running and reconstruction_activity.owner ==
                                     clip.session_uid):
            draw_outcome(column, context, reconstruction_activity.ended.get(clip.session_uid))


def draw_kept(layout, context):
    """What an earlier version kept with the scene, where it is open for which clip."""
    if held_inputs(context.scene):
        kept = context.scene.vmr.masks or "subject and lens"
        draw_text(layout, context, f"Given for one of these clips in an earlier version: {kept}", "QUESTION")
        row = layout.row(align=True)
        row.operator("vmr.take_inputs", text="Use for This Clip")
        row.operator("vmr.forget_inputs", text="", icon="X")


def draw_buttons(layout, stopped):
    """stopped: the clip's run that can be resumed, or None."""
    row = layout.row(align=True)
    row.scale_y = 1.6
    row.operator("vmr.reconstruct", icon="OUTLINER_OB_MESH")
    if stopped is not None:
        when = time.strftime("%d %b %H:%M", time.localtime(stopped.time))
        layout.label(text=f"A run was stopped on {when}", icon="INFO")
        row.operator("vmr.reconstruct", text="Resume", icon="PLAY").folder = str(stopped.folder)
    row = layout.row(align=True)
    row.operator_menu_enum("vmr.load_recent", "job", text="Recent Results")
    row.operator("vmr.load_result", text="", icon="FILEBROWSER")


def draw_preview(layout):
    """The preview of a run that was stopped, to keep or to discard."""
    if reconstruction_activity.preview is None:
        return
    layout.separator()
    layout.label(text=f"Preview of the stopped run: {reconstruction_activity.owner_name}")
    row = layout.row(align=True)
    row.operator("vmr.keep_preview", text="Keep", icon="CHECKMARK")
    row.operator("vmr.discard_preview", text="Discard", icon="X")


def draw_waiting(layout, context):
    """Results of runs whose file was closed, or whose clip or scene was removed, meanwhile."""
    for folder, name in reconstruction_activity.waiting.items():
        draw_text(layout, context, f"{name} was reconstructed, but its clip or scene is not in this file", "INFO")
        row = layout.row(align=True)
        row.operator_context = "EXEC_DEFAULT"
        row.operator("vmr.load_result", text="Load Result", icon="IMPORT").directory = folder
        row.operator("vmr.dismiss_waiting", text="", icon="X").folder = folder


def draw_outcome(layout, context, ended):
    """How the clip's last run ended, and its warnings; but for a result that waits to be loaded."""
    if ended is None or ended.folder in reconstruction_activity.waiting:
        return
    layout.separator()
    draw_ended(layout, context, ended)
    draw_warnings(layout, context, ended)
    if ended.folder:
        layout.operator("vmr.open_job_folder").folder = ended.folder


class SubjectPanel(InTab):
    """Who the subject is, where nobody has made masks yet."""

    bl_label = "Subject"

    @classmethod
    def poll(cls, context):
        return clip_of(context) is not None

    def draw(self, context):
        draw_masks(self.column(), context, clip_of(context))


class FootagePanel(InTab):
    """What is not a plain clip becomes one."""

    bl_label = "Footage"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context):
        clip = clip_of(context)
        draw_frames(self.column(), context, ("CLIP", "STRIP", "COMPOSITING") if clip else ("STRIP", "COMPOSITING"))


class ResultPanel(InTab):
    """How far the active result can be trusted."""

    bl_label = "Result"

    @classmethod
    def poll(cls, context):
        return result_in(context) is not None

    def draw(self, context):
        draw_result(self.column(), context)


class GroupPanel(InTab):
    """The settings of one group, as vmr_backend/settings.py lists them."""

    bl_options = {"DEFAULT_CLOSED"}
    group: str

    @classmethod
    def poll(cls, context):
        return bool(settings_in(cls.group, kind_of(context.scene.vmr)))

    def draw(self, context):
        column, props = self.column(), context.scene.vmr
        # Names inside the fields: beside them the narrow tab would cut them off.
        column.use_property_split = False
        clip = clip_of(context)
        if self.group == "camera" and clip is not None:
            draw_known(column, context.scene, clip)
        if self.group == "input":
            if clip is not None:
                draw_subject(column, inputs_of(clip))
            column.prop(props, "use_scene_range")
            column.prop(props, "seed")
        changed = changed_settings(props)
        for name in settings_in(self.group, kind_of(props)):
            row = column.row(align=True)
            row.prop(props.settings, name)
            if name in changed:
                row.operator("vmr.reset_settings", text="", icon="LOOP_BACK", emboss=False).name = name


class ModelsPanel(InTab):
    """Category models that there are, and a new one from the active object."""

    bl_label = "Category Models"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context):
        column = self.column()
        draw_models(column, context, context.preferences.addons[PACKAGE].preferences.models)
        column.separator()
        draw_training(column, context, context.scene.vmr.training)


class BackendPanel(InTab):
    """The environment that computes."""

    bl_label = "Backend"
    bl_options = {"DEFAULT_CLOSED"}

    def draw(self, context):
        preferences = context.preferences.addons[PACKAGE].preferences
        column = self.column()
        column.prop(preferences, "device")
        draw_backend(column, context, preferences.backend_found)


def panels_of(space: str, prefix: str) -> list[type]:
    """The panels of one editor; plain mixins, since Blender cannot subclass a registered panel."""
    def panel(name, mixin, **attributes):
        identifier = f"{prefix}_PT_{name}"
        attributes |= {"bl_idname": identifier, "bl_space_type": space}
        return type(identifier, (mixin, bpy.types.Panel), attributes)

    main = panel("reconstruct", MainPanel)
    parent = {"bl_parent_id": main.bl_idname}
    groups = [panel(group, GroupPanel, bl_label=label, group=group, **parent) for group, label in GROUP_LABELS.items()]
    return [panel("footage", FootagePanel), panel("subject", SubjectPanel), main,
            panel("result", ResultPanel, **parent), *groups,
            panel("models", ModelsPanel, **parent), panel("backend", BackendPanel, **parent)]


CLASSES = (*panels_of("CLIP_EDITOR", "VMR"), *panels_of("VIEW_3D", "VMR_VIEW3D"))
