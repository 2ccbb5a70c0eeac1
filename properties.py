"""Settings of a scene, generated from vmr_backend/settings.py; inputs of a clip; the state of runs for the panels."""

import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import bpy

from .vmr_backend.methods import METHODS, Method
from .vmr_backend.settings import DEFAULT_PRESET, GROUPS, PRESETS, Setting, Settings, settings_of

SETTINGS = {setting.name: setting for setting in Settings.describe()}
GROUP_LABELS = dict(GROUPS)
MOTIONS = (
    ("SHAPE_KEYS", "Shape Keys", "One shape for each frame: plays anywhere, hard to change"),
    ("ARMATURE", "Armature", "Bones with a pose for each frame: made to be changed, light in files. "
                             "Without bones in the result, shape keys"),
)
OWN_MOTIONS = (
    ("OWN_ARMATURE", "Key My Armature", "A new action on the armature of your object. Where something else moves its "
                                        "bones, a new armature"),
    ("ARMATURE", "New Armature", "A mesh of its own on an armature with the bones that hold it"),
    ("SHAPE_KEYS", "Shape Keys", "A mesh of its own with one shape for each frame"),
)
"""The same where the subject is an object of the user's."""
FRONTS = (
    ("AUTO", "Auto", "Found by names of bones, and by the mirror between left and right"),
    *((axis, axis, f"It looks along {axis} of its armature") for axis in ("-Y", "+Y", "-X", "+X")),
)


@dataclass(frozen=True)
class SubjectKind:
    """What an artist calls a way to reconstruct: a method, and for a template which one."""

    label: str
    meaning: str
    method: str
    """One of METHODS."""
    number: int
    """Under which files keep the choice: never given to another."""
    template: str = ""
    """The template that comes along."""
    is_own: bool = False
    """Whether the template is made of an object of the user's."""
    elsewhere: tuple[str, ...] = ()
    """Settings in whose place there is an input of the clip."""

    @property
    def obstacle(self) -> str:
        """Why it cannot be reconstructed in this installation; empty where it can."""
        if self.template and not (Path(__file__).parent / "vmr_backend" / "templates" /
                                  f"{self.template}.safetensors").is_file():
            return f"The template {self.template} did not come with this installation; choose another method"
        return ""


SUBJECT_KINDS = {
    "auto": SubjectKind("Auto", METHODS["auto"].meaning, "auto", 4),
    "lasr": SubjectKind("Unknown Animal", METHODS["lasr"].meaning, "lasr", 0),
    "quadruped": SubjectKind("Quadruped", "Let a rigged four-legged animal, which comes along, follow the clip",
                             "template", 2, template="quadruped"),
    "own": SubjectKind("My Rigged Object", "Let a character of yours, mesh and armature, follow the clip",
                       "template", 3, is_own=True, elsewhere=("template_shape",)),
    "vmr": SubjectKind("Category Model", METHODS["vmr"].meaning, "vmr", 1),
}
"""By the names that files and scripts use."""


def property_of(setting: Setting) -> Any:
    """The Blender property of a setting: type, range, unit and tooltip."""
    arguments: dict[str, Any] = {"name": setting.label, "description": setting.description, "default": setting.default}
    if setting.source:
        arguments["description"] += f".\nDefault: {setting.source}"
    if setting.choices:
        items = [(name, name.replace("_", " ").title(), text) for name, text in setting.choices.items()]
        return bpy.props.EnumProperty(items=items, **arguments)
    if isinstance(setting.default, bool):
        return bpy.props.BoolProperty(**arguments)
    if isinstance(setting.default, str):
        return bpy.props.StringProperty(**arguments)
    limits = {"min": setting.minimum, "max": setting.maximum, "soft_max": setting.soft_maximum}
    arguments |= {name: limit for name, limit in limits.items() if limit is not None}
    if isinstance(setting.default, int):
        subtype = {"PIXEL": "PIXEL", "FRAMES": "TIME"}.get(setting.unit, "NONE")
        return bpy.props.IntProperty(subtype=subtype, **arguments)
    if setting.unit == "DEGREES":
        # Blender stores angles in radians and shows degrees.
        arguments |= {k: math.radians(arguments[k]) for k in ("default", "min", "max", "soft_max") if k in arguments}
        return bpy.props.FloatProperty(subtype="ANGLE", **arguments)
    return bpy.props.FloatProperty(precision=3, step=1, **arguments)


def motion_property(items: Any = MOTIONS, **options: Any) -> Any:
    """The choice of how the mesh of a result moves, the same at every frame."""
    return bpy.props.EnumProperty(
        name="Motion", items=items, default="SHAPE_KEYS", description="How the mesh of a result moves", **options)


def set_up_property(**options: Any) -> Any:
    """Whether a scene takes camera, range and size of a result though it holds something else."""
    return bpy.props.BoolProperty(
        name="Set Up Scene",
        description="Where the scene holds work of yours, let results change it too: its camera, frame range, render "
                    "size and frame rate, the selection, and 3D Viewports look through the camera once. In an "
                    "untouched scene all of this is done anyway", **options)


VMR_PG_settings = type("VMR_PG_settings", (bpy.types.PropertyGroup,), {
    "__doc__": "Every tunable of vmr_backend/settings.py as a Blender property.",
    "__annotations__": {name: property_of(setting) for name, setting in SETTINGS.items()},
})


def value_of(group: bpy.types.PropertyGroup, name: str) -> Any:
    """A setting's value in the backend's unit, without the digits that single precision adds."""
    value = getattr(group, name)
    if not isinstance(value, float):
        return value
    if SETTINGS[name].unit == "DEGREES":
        value = math.degrees(value)
    return float(f"{value:.6g}")


def set_value(group: bpy.types.PropertyGroup, name: str, value: Any) -> None:
    setattr(group, name, math.radians(value) if SETTINGS[name].unit == "DEGREES" else value)


def kind_of(props) -> SubjectKind:
    """What was chosen from the list of methods."""
    return SUBJECT_KINDS[props.method]


def method_of(props) -> Method:
    """The method of that."""
    return METHODS[kind_of(props).method]


def motion_of(props, clip: bpy.types.MovieClip | None) -> str:
    """How the mesh of a result is to move: as chosen for the scene, or for the clip's own object."""
    return inputs_of(clip).rig_motion if clip is not None and kind_of(props).is_own else props.motion


def settings_in(group: str, kind: SubjectKind) -> list[str]:
    """The names of a group's settings that count for a choice of the method."""
    return [s.name for s in SETTINGS.values()
            if s.group == group and s.is_read_by(kind.method) and s.name not in kind.elsewhere]


def changed_settings(props: "VMR_PG_reconstruction") -> dict[str, Any]:
    """The values that the user set to something else than the chosen preset's."""
    preset = dict(settings_of(props.preset).items())
    values = {name: value_of(props.settings, name) for name in SETTINGS}
    return {name: value for name, value in values.items()
            if value != preset[name] and name not in kind_of(props).elsewhere}


def apply_preset(props: "VMR_PG_reconstruction", _context: Any = None) -> None:
    """Give every setting the chosen preset's value."""
    for name, value in settings_of(props.preset).items():
        set_value(props.settings, name, value)


TRAININGS = (
    ("weak", "Masks and Keypoints", "Supervision by masks and keypoints: shape and pose are more reliable"),
    ("self", "Masks Alone", "Supervision by masks only, for objects that have neither bones nor vertex groups"),
)


class VMR_PG_training(bpy.types.PropertyGroup):
    """What a scene asks of the training of a category model: `scene.vmr.training`."""

    category: bpy.props.StringProperty(
        name="Category", description="What the model is of, and is called. Empty for the name of the object")
    images: bpy.props.IntProperty(
        name="Images", default=1000, min=8, soft_max=5000, max=100_000,
        description="Number of rendered training images")
    size: bpy.props.IntProperty(
        name="Size", default=128, min=32, soft_max=256, max=2048, subtype="PIXEL",
        description="Width and height of the images")
    training: bpy.props.EnumProperty(
        name="Supervision", items=TRAININGS, default="weak",
        description="Which annotations of the images the losses use")
    steps: bpy.props.IntProperty(
        name="Steps", default=4000, min=1, soft_max=50_000, description="Training iterations, one batch of images each")
    seed: bpy.props.IntProperty(
        name="Seed", min=0, description="Of the random numbers; another seed gives other images")
    keypoints: bpy.props.StringProperty(
        name="Keypoints", description="Names of bones or vertex groups, with commas between. Empty chooses up to 32 "
                                      "that are spread over the body")


def _model_names(_self: Any, context: bpy.types.Context, _typed: str) -> list[str]:
    preferences: Any = context.preferences.addons[__package__].preferences
    return [model.name for model in preferences.models if not model.problem]


RELATIVE_PATHS = {"PATH_SUPPORTS_BLEND_RELATIVE"} if bpy.app.version >= (4, 5, 0) else set()
"""Blender below 4.5 lacks the option, and takes relative paths without it."""


def input_properties(**options: Any) -> dict[str, Any]:
    """What the user gives of a subject beside the clip."""
    return {
        "masks": bpy.props.StringProperty(
            name="Masks", subtype="FILE_PATH", options={"ANIMATABLE"} | RELATIVE_PATHS,
            description="Folder of images, one image of it, or movie: white where the subject is, black elsewhere. "
                        "Empty for the alpha channel of the clip", **options),
        "subject_by": bpy.props.EnumProperty(
            name="Subject", default="WHITE", description="Which subject is meant where the masks hold several",
            items=[("WHITE", "All White", "The masks show one subject, in white"),
                   ("LABEL", "Label", "The masks number their subjects, as a palette, in colours or in grey"),
                   ("BOX", "Box", "The one that lies in a box at some frame; it is followed through the clip")],
            **options),
        "subject": bpy.props.IntProperty(
            name="Label", default=1, min=1, max=65535, description="Number of the subject in the masks", **options),
        "box": bpy.props.IntVectorProperty(
            name="Box", size=4, **options,
            description="Left, top, width and height in pixels of the clip, from its top left corner"),
        "box_frame": bpy.props.IntProperty(
            name="Frame of Box", default=1, description="Scene frame at which the box is around the subject",
            **options),
        "start_shape": bpy.props.StringProperty(
            name="Start From", subtype="DIR_PATH", **options,
            description="Folder of a result of the same subject, whose rest shape the subject starts from. Empty for "
                        "the category model's own"),
    }


def camera_properties(**options: Any) -> dict[str, Any]:
    """What of a clip's tracking is taken."""
    return {
        "use_clip_lens": bpy.props.BoolProperty(
            name="Clip's Lens", **options,
            description="Take the focal length from the clip (Movie Clip Editor, Track, Camera), where you know it"),
        "use_camera_solve": bpy.props.BoolProperty(
            name="Clip's Solve", default=True, **options,
            description="Where the clip is solved, start from how the camera turns about the subject, and take its "
                        "lens. Solve the subject as an object of its own; the camera's solve fits a subject that does "
                        "not turn"),
    }


def _can_be_fitted(_self: Any, candidate: bpy.types.Object) -> bool:
    return candidate.type == "ARMATURE" or candidate.type == "MESH" and candidate.find_armature() is not None


def _suit_motion(inputs: Any, _context: Any) -> None:
    # Bones of the user's do not change their lengths.
    inputs.rig_motion = "OWN_ARMATURE" if inputs.rig_shape == "keep" else "ARMATURE"


def _refresh_front(_inputs: Any, _context: Any) -> None:
    show: Any = bpy.ops.vmr.show_front  # type: ignore[attr-defined]
    if show.poll():
        show(refresh=True)


def rig_properties() -> dict[str, Any]:
    """What the user says of an object that is the subject."""
    shapes = SETTINGS["template_shape"].choices
    return {
        "rig": bpy.props.PointerProperty(
            name="Object", type=bpy.types.Object, poll=_can_be_fitted, update=_refresh_front,
            description="Armature, for all meshes that it moves, or one such mesh"),
        "rig_front": bpy.props.EnumProperty(
            name="Front", items=FRONTS, default="AUTO", update=_refresh_front,
            description="Where the object looks, along its armature's axes"),
        "rig_shape": bpy.props.EnumProperty(
            name="Shape", default="keep", update=_suit_motion,
            items=[(name, name.title(), shapes[name]) for name in ("keep", "adapt")],
            description="What may happen to the object's proportions"),
        "rig_motion": bpy.props.EnumProperty(
            name="Result", items=OWN_MOTIONS, default="OWN_ARMATURE", description="What moves as the subject did"),
    }


VMR_PG_inputs = type("VMR_PG_inputs", (bpy.types.PropertyGroup,), {
    "__doc__": "What the user gives of a subject: masks, which of several it is, what it starts from, an object of it.",
    "__annotations__": input_properties() | rig_properties(),
})


def _hand_over(props: "VMR_PG_reconstruction", _context: Any) -> None:
    hand_over(props.id_data)


class VMR_PG_reconstruction(bpy.types.PropertyGroup):
    """What a scene asks of a reconstruction: `scene.vmr`."""

    clip: bpy.props.PointerProperty(
        name="Clip", type=bpy.types.MovieClip,
        description="Footage to reconstruct from, where no Movie Clip Editor shows a clip")
    method: bpy.props.EnumProperty(
        name="Method", default="auto", description="What the subject is taken for, and so how it is found",
        items=[(name, kind.label, kind.meaning, kind.number) for name, kind in SUBJECT_KINDS.items()])
    model: bpy.props.StringProperty(
        name="Model", search=_model_names, search_options={"SUGGESTION"},
        description="Category model of the subject: one that is listed under Category Models, or the path of a file")
    start_model: bpy.props.StringProperty(
        name="Start From", search=_model_names, search_options={"SUGGESTION"},
        description="Category model that predicts the initial camera and shape: one that is listed under Category "
                    "Models, or the path of a file. Empty to start from nothing")
    preset: bpy.props.EnumProperty(
        name="Preset", default=DEFAULT_PRESET, description="Values for all settings below", update=apply_preset,
        items=[(name, preset.label, preset.description) for name, preset in PRESETS.items()])
    motion: motion_property()
    live_preview: bpy.props.BoolProperty(
        name="Live Preview", default=True,
        description="While a reconstruction runs, show its latest mesh and camera in the viewport. They are "
                    "neither rendered nor saved with the file")
    set_up_scene: set_up_property()
    use_scene_range: bpy.props.BoolProperty(
        name="Scene Range Only", description="Take only the frames of the clip between the scene's start and end")
    seed: bpy.props.IntProperty(
        name="Seed", min=0, description="Of the random numbers; another seed gives another attempt")
    settings: bpy.props.PointerProperty(type=VMR_PG_settings)
    training: bpy.props.PointerProperty(type=VMR_PG_training)


# Files of earlier versions kept these with the scene, and scripts set them there: they go on to the scene's clip.
INPUTS, CAMERA = tuple(input_properties()), tuple(camera_properties())
VMR_PG_reconstruction.__annotations__.update(
    input_properties(update=_hand_over) | camera_properties(update=_hand_over))


class VMR_PG_doubt(bpy.types.PropertyGroup):
    """A doubtful frame of a result."""

    frame: bpy.props.IntProperty(name="Frame", description="Frame of the scene")
    reasons: bpy.props.StringProperty(name="Reasons", description="Why it is doubtful")


class VMR_PG_point(bpy.types.PropertyGroup):
    """A point marked on a frame."""

    place: bpy.props.FloatVectorProperty(
        name="Position", size=2, description="In pixels of the clip, from its top left corner, right and down")
    inside: bpy.props.BoolProperty(name="On the Subject", default=True)


class VMR_PG_mark(bpy.types.PropertyGroup):
    """What is marked on one frame of a clip."""

    frame: bpy.props.IntProperty(name="Frame", description="Number of the clip's frame: 0 the first of a movie, for "
                                                           "images the number in the file's name")
    box: bpy.props.FloatVectorProperty(
        name="Box", size=4, description="Left, top, width and height in pixels of the clip, from its top left corner; "
                                        "without width there is none")
    points: bpy.props.CollectionProperty(name="Points", type=VMR_PG_point)
    mask: bpy.props.StringProperty(
        name="Mask", subtype="FILE_PATH",
        description="An image of the whole mask, white on black. Empty: there is none")


class VMR_PG_subject(bpy.types.PropertyGroup):
    """A subject of a clip, by name: what is marked of it, and what is known of its masks."""

    marks: bpy.props.CollectionProperty(name="Marks", type=VMR_PG_mark)
    mask: bpy.props.PointerProperty(
        name="Mask", type=bpy.types.Mask,
        description="Drawn with Blender's own splines, for its masks or to mark frames")
    folder: bpy.props.StringProperty(
        name="Folder", subtype="DIR_PATH", description="Where its masks lie. Empty before they are found")
    found: bpy.props.IntProperty(name="Masks", description="How many masks were found")
    stale: bpy.props.BoolProperty(name="Changed", description="Marks were changed since the masks were found")
    doubts: bpy.props.CollectionProperty(name="Doubtful Masks", type=VMR_PG_doubt)
    inputs: bpy.props.PointerProperty(name="Inputs", type=VMR_PG_inputs)


class VMR_PG_clip(bpy.types.PropertyGroup):
    """The subjects of a movie clip: `clip.vmr`."""

    subjects: bpy.props.CollectionProperty(name="Subjects", type=VMR_PG_subject)
    active: bpy.props.IntProperty(name="Active Subject", description="The subject that marks are of")
    show_masks: bpy.props.BoolProperty(
        name="Show Masks", default=True, description="Draw marks and masks over the clip")
    inputs: bpy.props.PointerProperty(
        name="Inputs", type=VMR_PG_inputs, description="Of the clip's subject, as long as it has none by name")


VMR_PG_clip.__annotations__.update(camera_properties())


class VMR_PG_result(bpy.types.PropertyGroup):
    """How far the result on a mesh object can be trusted: `object.vmr_result`."""

    trust: bpy.props.EnumProperty(
        name="Trust", items=[("UNKNOWN", "Unknown", "No report"), ("GOOD", "Good", "No sign of an error"),
                             ("CAREFUL", "Careful", "Right in part, or uncertain"),
                             ("POOR", "Poor", "Not to be used as it is")])
    verdict: bpy.props.StringProperty(name="Verdict", description="Why, and what can be done about it")
    doubts: bpy.props.CollectionProperty(name="Doubtful Frames", type=VMR_PG_doubt)


def result_of(mesh_object: bpy.types.Object) -> VMR_PG_result:
    return mesh_object.vmr_result  # type: ignore[attr-defined]


def result_in(context: bpy.types.Context) -> VMR_PG_result | None:
    """What is known of the active result: of the active object, of the mesh beside it where that is its camera,
    armature or root; or of the root on the user's armature that is active or moves the active mesh."""
    active = context.view_layer.objects.active
    if active is None:
        return None
    candidates = [active]
    if active.type in {"CAMERA", "ARMATURE", "EMPTY"}:
        candidates += [other for collection in active.users_collection for other in collection.objects]
    if (armature := active if active.type == "ARMATURE" else active.find_armature()) is not None:
        candidates += sorted(armature.children, key=lambda child: child.session_uid, reverse=True)  # the latest first
    known = (result_of(candidate) for candidate in candidates)
    return next((result for result in known if result.trust != "UNKNOWN"), None)


def subjects_of(clip: bpy.types.MovieClip) -> Any:
    """A clip's `VMR_PG_clip`."""
    return clip.vmr  # type: ignore[attr-defined]


def active_subject(clip: bpy.types.MovieClip) -> VMR_PG_subject | None:
    """The subject that marks are of; None where the clip has none yet."""
    group = subjects_of(clip)
    return group.subjects[group.active] if 0 <= group.active < len(group.subjects) else None


def props_of(scene: bpy.types.Scene) -> VMR_PG_reconstruction:
    return scene.vmr  # type: ignore[attr-defined]


def clip_of(context: bpy.types.Context) -> bpy.types.MovieClip | None:
    """The clip of the Movie Clip Editor; elsewhere the one chosen for the scene, or the only one there is."""
    if clip := getattr(context, "edit_movieclip", None):
        return clip
    if clip := props_of(context.scene).clip or context.scene.active_clip:
        return clip
    return bpy.data.movieclips[0] if len(bpy.data.movieclips) == 1 else None


def inputs_of(clip: bpy.types.MovieClip) -> Any:
    """What is given of a clip's active subject, a `VMR_PG_inputs`."""
    return (active_subject(clip) or subjects_of(clip)).inputs


def add_subject(group: Any, name: str) -> Any:
    """A new, active subject among a clip's, with a name of its own."""
    names, number, unique = {one.name for one in group.subjects}, 1, name
    while unique in names:
        number += 1
        unique = f"{name} {number}"
    subject = group.subjects.add()
    subject.name = unique
    if not names:  # whom the clip's masks were chosen for
        copy_values(group.inputs, subject.inputs)
    group.active = len(group.subjects) - 1
    return subject


def copy_values(group: Any, other: Any) -> None:
    """Give a property group the values that another one of its kind was given."""
    for name in group.bl_rna.properties.keys():
        if group.is_property_set(name) and not other.is_property_readonly(name):
            setattr(other, name, getattr(group, name))


def copy_subjects(group: Any, other: Any) -> None:
    """Give another clip with the same frames the subjects that it lacks, with what is marked and given of them."""
    if not other.inputs.masks:
        copy_values(group.inputs, other.inputs)
    other.use_clip_lens = other.use_clip_lens or group.use_clip_lens
    for subject in group.subjects:
        if subject.name in other.subjects:
            continue
        copy = other.subjects.add()
        copy.name, copy.mask, copy.stale = subject.name, subject.mask, True
        copy_values(subject.inputs, copy.inputs)
        for mark in subject.marks:
            twin = copy.marks.add()
            twin.frame, twin.box, twin.mask = mark.frame, mark.box, mark.mask
            for point in mark.points:
                same = twin.points.add()
                same.place, same.inside = point.place, point.inside


def obstacle_to_keeping(clip: bpy.types.MovieClip | None) -> str:
    """Why nothing can be kept with a clip; empty where it can. What is given to another file's clip is not saved."""
    if clip is None:
        return "Open a movie clip first"
    if clip.library is not None:
        return "The clip is linked: make it local by the icon beside its name in the Movie Clip Editor"
    if clip.override_library is not None:
        return ("The clip is a library override: make it local by Shift and a click on the icon beside its name in the "
                "Movie Clip Editor")
    return ""


def hand_over(scene: bpy.types.Scene, apart: bool = False) -> None:
    """Give what a scene still holds of a clip's inputs to that clip; it stays where it is open which clip that is.

    apart   where the clip has other inputs already, of another scene, these become those of a subject of their own
    """
    clip = _clip_of_inputs(scene) if held_inputs(scene) else None
    if clip is not None and not obstacle_to_keeping(clip):
        hand_over_to(clip, scene, apart)


def hand_over_to(clip: bpy.types.MovieClip, scene: bpy.types.Scene, apart: bool = False) -> None:
    """Give a clip what a scene still holds of a clip's inputs."""
    props: Any = props_of(scene)
    held = {name: getattr(props, name) for name in held_inputs(scene)}
    group = subjects_of(clip)
    inputs = next((subject.inputs for subject in group.subjects if _lie_in(subject.folder, props.masks)),
                  inputs_of(clip))
    is_other = any(inputs.is_property_set(name) for name in INPUTS) and \
        any(_plain(getattr(inputs, name)) != _plain(getattr(props, name)) for name in INPUTS)
    if apart and is_other and not held.keys().isdisjoint(INPUTS):
        active = group.active
        if not group.subjects:
            add_subject(group, "Subject")
        inputs = add_subject(group, scene.name).inputs
        group.active = active
    for name, value in held.items():
        setattr(inputs if name in INPUTS else group, name, value)
        props.property_unset(name)


def held_inputs(scene: bpy.types.Scene) -> list[str]:
    """By name what a scene still holds of a clip's inputs."""
    return [name for name in (*INPUTS, *CAMERA) if props_of(scene).is_property_set(name)]


def _plain(value: Any) -> Any:
    return value if isinstance(value, (str, int)) else tuple(value)


def _lie_in(folder: str, masks: str) -> bool:
    return bool(folder and masks) and Path(bpy.path.abspath(masks)).is_relative_to(bpy.path.abspath(folder))


def take_found_masks(clip: bpy.types.MovieClip) -> None:
    """Files of earlier versions kept the masks of the subject alone that they were found of last."""
    for subject in subjects_of(clip).subjects:
        if subject.found and subject.folder and not subject.inputs.is_property_set("masks"):
            folder = Path(subject.folder)
            subject.inputs.masks = str(folder if folder.parent.name == "drawn" else folder / "masks")


def _clip_of_inputs(scene: bpy.types.Scene) -> bpy.types.MovieClip | None:
    """The clip that a scene's inputs are of."""
    props: Any = props_of(scene)
    clips = list(bpy.data.movieclips)
    # Masks that were found lie beside their clip: "footage/fox masks/Fox/masks" of "footage/fox.mp4".
    masks = bpy.path.abspath(props.masks).replace("\\", "/")
    beside = [clip for clip in clips if f"/{_name_on_disk(clip)} masks/" in masks]
    if len(beside) == 1:
        return beside[0]
    return props.clip or scene.active_clip or (clips[0] if len(clips) == 1 else None)


def _name_on_disk(clip: bpy.types.MovieClip) -> str:
    """Of a movie's file without the extension, or of the folder of images."""
    path = Path(clip.filepath.replace("\\", "/"))
    return path.parent.name if clip.source == "SEQUENCE" else path.stem


@dataclass(frozen=True)
class Ended:
    """How a run ended, for the panels."""

    text: str
    state: str = "DONE"
    """DONE, CANCELLED or FAILED."""
    warnings: list[str] = field(default_factory=list)
    found: list[str] = field(default_factory=list)
    """What a check found."""
    folder: str = ""
    """Where it worked."""


@dataclass
class Activity:
    """State of one kind of run for the panels: the active one, and how others ended."""

    child: Any = None
    """Has poll(), running, cancel() and error; None while nothing runs."""
    text: str = ""
    fraction: float = 0.0
    cancelled: bool = False
    warnings: list[str] = field(default_factory=list)
    owner: int | None = None
    """session_uid of the clip, scene or object that the run is about."""
    owner_name: str = ""
    folder: str = ""
    """Of the active run, or the last."""
    ended: dict[int | None, Ended] = field(default_factory=dict)
    """How the last run about each owner ended."""
    last: Ended | None = None
    """How the last run ended, whomever it was about."""
    resumable: set[int | None] = field(default_factory=set)
    """Owners of a training that was stopped and can be resumed."""
    waiting: dict[str, str] = field(default_factory=dict)
    """Results of clips or scenes that are not in the file any more: names by folder."""
    preview: Any = None
    """The `Preview` of a reconstruction that is active, or was stopped; None where there is none."""

    @property
    def running(self) -> bool:
        return self.child is not None

    def begin(self, text: str) -> None:
        """A new run is about to start."""
        self.text, self.fraction, self.cancelled, self.warnings = text, 0.0, False, []

    def reset(self) -> None:
        self.__init__()  # type: ignore[misc]


# Not in the scene: undo and the loading of a file would reset it while the child runs.
reconstruction_activity = Activity()
backend_activity = Activity()
training_activity = Activity()
segmentation_activity = Activity()
frames_activity = Activity()
ACTIVITIES = {"Reconstruct": reconstruction_activity, "Backend": backend_activity, "Training": training_activity,
              "Masks": segmentation_activity, "Frames": frames_activity}

register_classes, unregister_classes = bpy.utils.register_classes_factory((  # type: ignore[attr-defined]
    VMR_PG_settings, VMR_PG_training, VMR_PG_inputs, VMR_PG_reconstruction, VMR_PG_doubt, VMR_PG_result, VMR_PG_point,
    VMR_PG_mark, VMR_PG_subject, VMR_PG_clip))


@bpy.app.handlers.persistent
def _on_load(*_arguments: Any) -> None:
    for scene in bpy.data.scenes:
        hand_over(scene, apart=True)
    for clip in bpy.data.movieclips:
        if not obstacle_to_keeping(clip):
            take_found_masks(clip)


def register() -> None:
    register_classes()
    bpy.types.Scene.vmr = bpy.props.PointerProperty(type=VMR_PG_reconstruction)  # type: ignore[attr-defined]
    bpy.types.Object.vmr_result = bpy.props.PointerProperty(type=VMR_PG_result)  # type: ignore[attr-defined]
    bpy.types.MovieClip.vmr = bpy.props.PointerProperty(type=VMR_PG_clip)  # type: ignore[attr-defined]
    bpy.app.handlers.load_post.append(_on_load)


def unregister() -> None:
    bpy.app.handlers.load_post.remove(_on_load)
    del bpy.types.MovieClip.vmr  # type: ignore[attr-defined]
    del bpy.types.Object.vmr_result  # type: ignore[attr-defined]
    del bpy.types.Scene.vmr  # type: ignore[attr-defined]
    unregister_classes()
