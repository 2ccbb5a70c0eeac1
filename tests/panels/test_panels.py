"""The tab in both editors. Blender draws nothing without a window, so what panels ask of a layout is checked here."""

import dataclasses
import importlib
from types import SimpleNamespace

import bpy
import pytest
from blender_clips import make_images

KNOWN_BEFOREHAND = {"subject_by", "use_clip_lens", "use_camera_solve", "Facing Hints: 0", "vmr.add_hint",
                    "vmr.remove_hint"}


class Layout:
    """Takes what a panel draws, as Blender's layout does: unknown properties, operators and icons are errors."""

    ICONS = set(bpy.types.UILayout.bl_rna.functions["label"].parameters["icon"].enum_items.keys())

    def __init__(self, shown, asked):
        self.shown, self.asked = shown, asked

    def column(self, **_options):
        return Layout(self.shown, self.asked)

    row = box = column

    def separator(self):
        pass

    def label(self, text="", icon="NONE"):
        self._show(text, icon)

    def progress(self, factor, text):
        assert 0 <= factor <= 1
        self._show(text)

    def prop(self, data, name, **_options):
        assert name in data.bl_rna.properties
        self._show(name)

    def operator(self, name, text=None, icon="NONE", **_options):
        group, _, function = name.partition(".")
        properties = getattr(getattr(bpy.ops, group), function).get_rna_type().properties
        self._show(name, icon)
        self.asked.append((name, SimpleNamespace(**dict.fromkeys(properties.keys()))))
        return self.asked[-1][1]

    def template_list(self, list_type, list_id, data, name, active_data, active, **_options):
        assert name in data.bl_rna.properties and active in active_data.bl_rna.properties
        self.shown += [one.name for one in getattr(data, name)]

    def operator_menu_enum(self, name, property, text):
        assert hasattr(self.operator(name), property)

    def _show(self, text, icon="NONE"):
        assert icon in self.ICONS
        self.shown.append(text)


@pytest.fixture
def extension(installed_extension, empty_file, tmp_path):
    preferences = bpy.context.preferences.addons[installed_extension].preferences
    preferences.backend_python, preferences.models_folder = "/usr/bin/python", str(tmp_path / "models")

    def module(name):
        return importlib.import_module(f"{installed_extension}.{name}")

    properties = module("properties")
    activities = (properties.reconstruction_activity, properties.backend_activity, properties.training_activity,
                  properties.segmentation_activity, properties.frames_activity)
    for activity in activities:
        activity.reset()
    clip = bpy.data.movieclips.load(str(make_images(tmp_path / "walk", range(3))))
    yield SimpleNamespace(name=installed_extension, clip=clip, module=module, preferences=preferences)
    for activity in activities:
        activity.reset()


@pytest.fixture
def shown_in(extension):
    """The names and texts that a panel shows: `shown_in("VMR_PT_camera")`."""
    panels = {panel.bl_idname: panel for panel in extension.module("panels.reconstruct").CLASSES}
    panels["VMR_SEQUENCER_PT_footage"] = extension.module("panels.footage").VMR_SEQUENCER_PT_footage

    def shown(name, editors_frame=None, asked=()):
        """What a panel shows.

        editors_frame   at which the panel's Movie Clip Editor shows the clip; None for the scene's
        asked           receives its buttons: operator and properties
        """
        asked = asked if isinstance(asked, list) else []
        texts, panel, scene = [], panels[name], bpy.context.scene
        frame = scene.frame_current if editors_frame is None else editors_frame
        space = SimpleNamespace(type=panel.bl_space_type, clip_user=SimpleNamespace(frame_current=frame))
        facts = {key: getattr(panel, key) for key in ("bl_space_type", "group") if hasattr(panel, key)}
        preferences = SimpleNamespace(addons=bpy.context.preferences.addons, system=SimpleNamespace(ui_scale=1.0))
        context = SimpleNamespace(
            scene=scene, view_layer=bpy.context.view_layer, preferences=preferences, space_data=space,
            region=SimpleNamespace(width=280))
        draw = next(vars(cls)["draw"] for cls in panel.__mro__ if "draw" in vars(cls))
        mixins = tuple(cls for cls in panel.__mro__[1:2] if cls is not bpy.types.Panel)
        draw(type("Panel", mixins, facts | {"layout": Layout(texts, asked)})(), context)
        return texts

    return shown


@pytest.mark.parametrize("space, prefix", [("CLIP_EDITOR", "VMR"), ("VIEW_3D", "VMR_VIEW3D")])
def test_each_editor_has_the_tab_with_a_panel_for_each_group(extension, space, prefix):
    groups = extension.module("vmr_backend.settings").GROUPS
    for name in ("reconstruct", "result", "models", "backend", *groups):
        panel = getattr(bpy.types, f"{prefix}_PT_{name}")
        assert (panel.bl_space_type, panel.bl_region_type, panel.bl_category) == (space, "UI", "Reconstruct")
        assert name == "reconstruct" or panel.bl_parent_id == f"{prefix}_PT_reconstruct"


def test_every_setting_is_shown_once(extension, shown_in):
    settings = extension.module("vmr_backend.settings")
    kinds = extension.module("properties").SUBJECT_KINDS
    assert {kind.method for kind in kinds.values()} == set(extension.module("vmr_backend.methods").METHODS)
    for name, kind in kinds.items():
        bpy.context.scene.vmr.method = name
        shown = [text for group in settings.GROUPS for text in shown_in(f"VMR_PT_{group}")]
        expected = [s.name for s in settings.Settings.describe() if s.is_read_by(kind.method) and
                    s.name not in kind.elsewhere]
        assert sorted(set(shown) - {"use_scene_range", "seed"} - KNOWN_BEFOREHAND) == sorted(expected)
        assert len(shown) == len(set(shown))


def test_the_rows_of_a_choice_among_subjects_follow_it(extension, shown_in):
    inputs = extension.clip.vmr.inputs
    assert "subject_by" in shown_in("VMR_PT_input")
    assert not {"subject", "box", "box_frame"} & set(shown_in("VMR_PT_input"))
    inputs.subject_by = "LABEL"
    assert "subject" in shown_in("VMR_VIEW3D_PT_input") and "box" not in shown_in("VMR_VIEW3D_PT_input")
    inputs.subject_by = "BOX"
    assert {"box", "box_frame"} <= set(shown_in("VMR_PT_input")) and "subject" not in shown_in("VMR_PT_input")


def test_the_camera_panel_counts_the_hints(extension, shown_in, tmp_path):
    assert {"Facing Hints: 0", "vmr.add_hint", "vmr.remove_hint"} <= set(shown_in("VMR_PT_camera"))
    bpy.ops.vmr.add_hint()
    assert "Facing Hints: 1" in shown_in("VMR_VIEW3D_PT_camera")
    bpy.context.scene.vmr.clip = bpy.data.movieclips.load(str(make_images(tmp_path / "run", range(3))))
    assert "Facing Hints: 0" in shown_in("VMR_PT_camera"), "they are of the other clip"


def test_a_group_that_the_method_does_not_read_is_hidden(extension):
    scene = bpy.context.scene
    scene.vmr.method = "lasr"
    assert not bpy.types.VMR_PT_windows.poll(bpy.context)
    assert bpy.types.VMR_PT_stages.poll(bpy.context)
    scene.vmr.method = "vmr"
    assert bpy.types.VMR_PT_windows.poll(bpy.context)
    assert not bpy.types.VMR_PT_shape.poll(bpy.context)


def test_the_main_panel_shows_button_or_progress_and_what_came_of_it(extension, shown_in):
    activity = extension.module("properties").reconstruction_activity
    assert "vmr.reconstruct" in shown_in("VMR_PT_reconstruct")
    activity.child, activity.text, activity.fraction = object(), "Coarse 3/10, 0:40 left", 0.4
    shown = shown_in("VMR_VIEW3D_PT_reconstruct")
    assert {"Coarse 3/10, 0:40 left", "vmr.cancel"} <= set(shown) and "vmr.reconstruct" not in shown
    activity.child = None
    ended = extension.module("properties").Ended("Added fox: 60 frames", "DONE", ["frame 5: cut " + "off " * 30])
    activity.ended[extension.clip.session_uid] = ended
    shown = shown_in("VMR_PT_reconstruct")
    assert "Added fox: 60 frames" in shown
    assert max(len(text) for text in shown) < 40


def other_clip(tmp_path):
    """Another clip, which is looked at from now on."""
    clip = bpy.data.movieclips.load(str(make_images(tmp_path / "run", range(3))))
    bpy.context.scene.vmr.clip = clip
    return clip


def test_messages_are_shown_with_the_clip_that_they_are_about(extension, shown_in, tmp_path):
    activity = extension.module("properties").reconstruction_activity
    activity.ended[extension.clip.session_uid] = extension.module("properties").Ended("Added fox: 60 frames")
    assert "Added fox: 60 frames" in shown_in("VMR_PT_reconstruct")
    other = other_clip(tmp_path)
    assert "Added fox: 60 frames" not in shown_in("VMR_PT_reconstruct")
    activity.child, activity.owner, activity.owner_name = object(), extension.clip.session_uid, "fox"
    activity.text, activity.fraction = "Coarse 3/10", 0.5
    assert "fox: Coarse 3/10" in shown_in("VMR_PT_reconstruct"), "it says whose run goes on"
    activity.owner = other.session_uid
    assert "Coarse 3/10" in shown_in("VMR_PT_reconstruct")
    activity.child, bpy.context.scene.vmr.clip = None, extension.clip
    assert "Added fox: 60 frames" in shown_in("VMR_PT_reconstruct")


def test_a_stopped_run_is_offered_with_its_clip_also_after_blender_was_closed(extension, shown_in, tmp_path):
    extension.preferences.jobs_folder = str(tmp_path / "jobs")
    job = extension.module("vmr_backend.job")
    clip = str(tmp_path / "walk")
    job.JobRequest(clip=clip).save(tmp_path / "jobs" / "walk-0123456789" / job.RUN_NAME)
    extension.module("preferences").forget_jobs()
    shown = shown_in("VMR_PT_reconstruct")
    assert shown.count("vmr.reconstruct") == 2 and any("A run was stopped on" in text for text in shown)
    other_clip(tmp_path)
    assert shown_in("VMR_PT_reconstruct").count("vmr.reconstruct") == 1


def test_the_preferences_show_how_much_jobs_take_and_remove_those_that_are_lost(extension, tmp_path):
    extension.preferences.jobs_folder = str(tmp_path / "jobs")
    preferences, job = extension.module("preferences"), extension.module("vmr_backend.job")
    lost = tmp_path / "jobs" / "lost-0123456789"
    job.JobRequest(clip=str(tmp_path / "lost.mp4")).save(lost)
    job.JobRequest(clip=str(tmp_path / "walk")).save(tmp_path / "jobs" / "walk-0123456789")
    (lost / "overlay.mp4").write_bytes(bytes(7_000_000))
    preferences.forget_jobs()
    shown: list[str] = []
    context = SimpleNamespace(region=SimpleNamespace(width=400), preferences=SimpleNamespace(
        addons=bpy.context.preferences.addons, system=SimpleNamespace(ui_scale=1.0)))
    draw = preferences.VMR_AP_preferences.draw
    names = {name: getattr(extension.preferences, name) for name in ("backend_found", "bl_rna")}
    draw(SimpleNamespace(layout=Layout(shown, []), **names), context)
    assert {"Jobs: 7 MB", "vmr.remove_old_jobs"} <= set(shown)
    assert bpy.ops.vmr.remove_old_jobs() == {"FINISHED"}
    assert [folder.name for folder in (tmp_path / "jobs").iterdir()] == ["walk-0123456789"]


def test_the_job_folder_that_opens_is_that_of_the_clips_own_run(extension, shown_in, tmp_path):
    properties, opened = extension.module("properties"), []
    properties.reconstruction_activity.folder = "/jobs/of-another-clip"
    properties.reconstruction_activity.ended[extension.clip.session_uid] = properties.Ended("Added", folder="/jobs/its")
    shown_in("VMR_PT_reconstruct", asked=opened)
    assert [one.folder for name, one in opened if name == "vmr.open_job_folder"] == ["/jobs/its"]


def test_what_became_of_a_strip_is_said_in_its_scene_whatever_clip_is_chosen(extension, shown_in):
    properties = extension.module("properties")
    activity, scene = properties.frames_activity, bpy.context.scene
    activity.ended[scene.session_uid] = properties.Ended("no strip is active", "FAILED")
    for name in ("VMR_SEQUENCER_PT_footage", "VMR_PT_footage", "VMR_VIEW3D_PT_footage"):
        assert "no strip is active" in shown_in(name)
    activity.child, activity.owner, activity.owner_name, activity.text = object(), -1, "fox", "Rendering 3/8"
    assert "fox: Rendering 3/8" in shown_in("VMR_SEQUENCER_PT_footage"), "it says whose frames they are"
    activity.owner = scene.session_uid
    assert "Rendering 3/8" in shown_in("VMR_SEQUENCER_PT_footage")


def test_what_was_made_for_a_file_that_is_closed_is_offered(extension, shown_in):
    assert "vmr.dismiss_waiting" not in shown_in("VMR_PT_reconstruct")
    extension.module("properties").reconstruction_activity.waiting["/jobs/fox-0123456789"] = "fox"
    shown = shown_in("VMR_PT_reconstruct")
    assert "fox was reconstructed, but its clip or scene" in " ".join(shown) and shown.count("vmr.load_result") == 2
    activity, ended = extension.module("properties").reconstruction_activity, extension.module("properties").Ended
    activity.ended[extension.clip.session_uid] = ended("fox waits", folder="/jobs/fox-0123456789")
    assert "fox waits" not in shown_in("VMR_PT_reconstruct"), "it is said once"
    assert bpy.ops.vmr.dismiss_waiting(folder="/jobs/fox-0123456789") == {"FINISHED"}
    assert "vmr.dismiss_waiting" not in shown_in("VMR_PT_reconstruct")


def test_a_preview_of_a_stopped_run_is_kept_or_discarded_beside_resume(extension, shown_in):
    activity = extension.module("properties").reconstruction_activity
    buttons = {"vmr.keep_preview", "vmr.discard_preview"}
    assert not buttons & set(shown_in("VMR_PT_reconstruct"))
    activity.child, activity.preview = object(), object()
    assert not buttons & set(shown_in("VMR_PT_reconstruct"))
    activity.child = None
    for name in ("VMR_PT_reconstruct", "VMR_VIEW3D_PT_reconstruct"):
        assert buttons | {"vmr.reconstruct"} <= set(shown_in(name))


def test_whether_there_is_a_preview_is_chosen_before_the_run(shown_in):
    for name in ("VMR_PT_reconstruct", "VMR_VIEW3D_PT_reconstruct"):
        shown = shown_in(name)
        assert shown.index("live_preview") < shown.index("vmr.reconstruct")


def test_whether_a_result_sets_up_the_scene_is_chosen_before_the_run(shown_in):
    for name in ("VMR_PT_reconstruct", "VMR_VIEW3D_PT_reconstruct"):
        shown = shown_in(name)
        assert shown.index("set_up_scene") < shown.index("vmr.reconstruct")


def test_how_the_mesh_moves_is_chosen_before_the_run(shown_in):
    for name in ("VMR_PT_reconstruct", "VMR_VIEW3D_PT_reconstruct"):
        shown = shown_in(name)
        assert shown.index("motion") < shown.index("vmr.reconstruct")


def test_a_category_model_is_chosen_where_the_method_needs_one(shown_in):
    assert "model" not in shown_in("VMR_PT_reconstruct")
    bpy.context.scene.vmr.method = "vmr"
    for name in ("VMR_PT_reconstruct", "VMR_VIEW3D_PT_reconstruct"):
        assert {"model", "vmr.choose_model"} <= set(shown_in(name))


def test_the_list_of_methods_is_in_an_artists_words_and_keeps_its_numbers_in_files(extension):
    items = bpy.context.scene.vmr.bl_rna.properties["method"].enum_items
    assert [(item.name, item.identifier, item.value) for item in items] == [
        ("Auto", "auto", 4), ("Unknown Animal", "lasr", 0), ("Quadruped", "quadruped", 2),
        ("My Rigged Object", "own", 3), ("Category Model", "vmr", 1)]
    assert bpy.context.scene.vmr.method == "auto"


def test_an_object_of_the_users_is_chosen_where_it_is_the_subject(extension, shown_in):
    rows = {"rig", "rig_front", "rig_shape", "rig_motion"}
    assert not rows & set(shown_in("VMR_PT_reconstruct"))
    bpy.context.scene.vmr.method = "own"
    for name in ("VMR_PT_reconstruct", "VMR_VIEW3D_PT_reconstruct"):
        shown = shown_in(name)
        assert rows <= set(shown) and not {"start_model", "model", "motion"} & set(shown)
    bpy.data.movieclips.remove(extension.clip)
    assert not rows & set(shown_in("VMR_VIEW3D_PT_reconstruct"))


def test_the_result_of_an_object_of_the_users_suits_its_shape(extension):
    inputs = extension.clip.vmr.inputs
    assert (inputs.rig_shape, inputs.rig_motion) == ("keep", "OWN_ARMATURE")
    inputs.rig_shape = "adapt"
    assert inputs.rig_motion == "ARMATURE"
    inputs.rig_shape = "keep"
    assert inputs.rig_motion == "OWN_ARMATURE"


def test_a_template_that_did_not_come_along_says_so(extension, shown_in, monkeypatch):
    module = extension.module("properties")
    kind = module.SUBJECT_KINDS["quadruped"]
    monkeypatch.setitem(module.SUBJECT_KINDS, "quadruped", dataclasses.replace(kind, template="centaur"))
    bpy.context.scene.vmr.method = "quadruped"
    assert "The template centaur did not come with this installation" in " ".join(shown_in("VMR_PT_reconstruct"))


def test_models_are_listed_with_their_scores_and_broken_ones_with_the_reason(extension, shown_in, tmp_path):
    from model_files import save_model

    save_model(tmp_path / "models" / "goat.safetensors", scores={"IoU": 0.871, "PCK": 0.8})
    (tmp_path / "models" / "half.safetensors").write_bytes(b"half")
    shown = shown_in("VMR_VIEW3D_PT_models")
    assert {"goat  IoU 0.87  PCK 0.80", "half"} <= set(shown) and "vmr.remove_model" in shown
    assert "found no safetensors header" in " ".join(shown) and max(map(len, shown)) < 40


def test_a_training_shows_button_or_progress_and_what_came_of_it(extension, shown_in):
    activity = extension.module("properties").training_activity
    shown = shown_in("VMR_PT_models")
    assert {"Choose an object to train on", "images", "size", "training", "steps", "vmr.train_model"} <= set(shown)
    bpy.ops.mesh.primitive_cube_add()
    assert "Object: Cube" in shown_in("VMR_PT_models")
    activity.child, activity.text, activity.fraction = object(), "Rendering 3/40", 0.1
    shown = shown_in("VMR_PT_models")
    assert {"Rendering 3/40", "vmr.cancel_training"} <= set(shown) and "vmr.train_model" not in shown
    cube = bpy.context.view_layer.objects.active.session_uid
    activity.child, activity.resumable = None, {cube}
    activity.ended[cube] = extension.module("properties").Ended("Training cancelled", "CANCELLED")
    shown = shown_in("VMR_PT_models")
    assert "Training cancelled" in shown and shown.count("vmr.train_model") == 2


def test_without_a_backend_the_panel_says_so_and_offers_it(extension, shown_in):
    assert "vmr.install_backend" not in shown_in("VMR_PT_reconstruct")
    extension.preferences.backend_python = ""
    shown = shown_in("VMR_PT_reconstruct")
    assert "The backend is not installed" in shown and "vmr.install_backend" in shown


def test_changed_settings_can_be_taken_back_where_they_stand(extension, shown_in):
    assert "vmr.reset_settings" not in shown_in("VMR_PT_shape")
    bpy.context.scene.vmr.method = "lasr"
    bpy.context.scene.vmr.settings.bones = 5
    assert shown_in("VMR_PT_shape").count("vmr.reset_settings") == 1
    assert "1 changed" in shown_in("VMR_PT_reconstruct")


def test_the_backend_panel_shows_the_check(extension, shown_in):
    activity = extension.module("properties").backend_activity
    activity.last = extension.module("properties").Ended("The backend is ready", found=["PyTorch 2.13.0"])
    assert {"device", "vmr.check_backend", "PyTorch 2.13.0"} <= set(shown_in("VMR_PT_backend"))
    activity.child, activity.text = object(), "Downloading torch"
    assert {"Downloading torch", "vmr.cancel_backend"} <= set(shown_in("VMR_PT_backend"))


def judged(trust="CAREFUL", verdict="Use this result with care: it turns too little. Film it from more sides."):
    """A mesh object, the active one, with the verdict of a result on it."""
    mesh_object = bpy.data.objects.new("fox", bpy.data.meshes.new("fox"))
    bpy.context.scene.collection.objects.link(mesh_object)
    bpy.context.view_layer.objects.active = mesh_object
    mesh_object.vmr_result.trust, mesh_object.vmr_result.verdict = trust, verdict
    return mesh_object


@pytest.mark.parametrize("trust", ["GOOD", "CAREFUL", "POOR"])
def test_the_result_panel_shows_the_verdict_and_the_number_of_doubtful_frames(extension, shown_in, trust):
    assert not bpy.types.VMR_PT_result.poll(bpy.context) and not bpy.types.VMR_VIEW3D_PT_result.poll(bpy.context)
    mesh_object = judged(trust)
    assert bpy.types.VMR_PT_result.poll(bpy.context)
    shown = shown_in("VMR_PT_result")
    assert " ".join(shown[:-1]) == mesh_object.vmr_result.verdict and shown[-1] == "No doubtful frames"
    assert max(map(len, shown)) < 40


def test_the_result_panel_leads_through_the_doubtful_frames_and_says_why(extension, shown_in):
    doubts = judged().vmr_result.doubts
    doubt = doubts.add()
    doubt.frame, doubt.reasons = 12, "the camera jumps"
    assert "1 doubtful frame" in shown_in("VMR_PT_result")
    doubts.add().frame = 15
    shown = shown_in("VMR_VIEW3D_PT_result")
    assert "2 doubtful frames" in shown and shown.count("vmr.doubtful_frame") == 2
    assert "Frame 12: the camera jumps" not in shown
    assert "Frame 12: the camera jumps" in shown_in("VMR_PT_result", editors_frame=12)
    bpy.context.scene.frame_set(12)
    assert "Frame 12: the camera jumps" in shown_in("VMR_PT_result")


def test_the_verdict_stands_once_though_the_run_warned_of_it(extension, shown_in):
    activity, verdict = extension.module("properties").reconstruction_activity, "Do not trust this result."
    activity.ended[extension.clip.session_uid] = extension.module("properties").Ended(
        "Added fox", warnings=[verdict, "2 frames were left out"])
    assert {verdict, "2 frames were left out"} <= set(shown_in("VMR_PT_reconstruct"))
    judged("POOR", verdict)
    shown = shown_in("VMR_PT_reconstruct")
    assert "2 frames were left out" in shown and verdict not in shown


@pytest.mark.parametrize("data", ["cameras", "armatures"])
def test_camera_and_armature_of_a_result_stand_for_its_mesh(extension, data):
    mesh_object, collection = judged(), bpy.data.collections.new("fox")
    bpy.context.scene.collection.children.link(collection)
    made = getattr(bpy.data, data).new("fox")
    other, elsewhere = bpy.data.objects.new("of the result", made), bpy.data.objects.new("not of it", made)
    for member in (other, mesh_object):
        collection.objects.link(member)
    bpy.context.scene.collection.objects.unlink(mesh_object)
    bpy.context.scene.collection.objects.link(elsewhere)
    for active, known in ((other, True), (elsewhere, False), (None, False)):
        bpy.context.view_layer.objects.active = active
        assert bpy.types.VMR_PT_result.poll(bpy.context) == known


def test_names_and_tooltips_read_as_blenders_do(extension):
    for cls in (*extension.module("operators").CLASSES, *extension.module("panels.reconstruct").CLASSES):
        small_words = {" And ": " and ", " To ": " to ", " From ": " from ", "Fbx": "FBX", "Gltf": "glTF"}
        title = cls.bl_label.title()
        for word, small in small_words.items():
            title = title.replace(word, small)
        assert cls.bl_label == title
        tooltip = getattr(cls, "bl_description", None) or cls.__doc__ or ""
        assert "\n" not in tooltip and not (tooltip.endswith(".") and issubclass(cls, bpy.types.Operator))
