"""Every tunable of the project, once: default, range, unit, meaning and source.

Blender's panels, the command line (`--set name=value`) and job files are generated from this list or checked against
it. Standard library only: Blender's own process imports it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

GROUPS = {
    "input": "Input",
    "camera": "Camera",
    "shape": "Shape and Bones",
    "stages": "Stages",
    "windows": "Windows",
    "weights": "Loss Weights",
    "texture": "Texture",
}
TRAININGS = {
    "weak": "From masks and keypoints: shape bases, cameras from the keypoints",
    "self": "From masks alone: one symmetric template, cameras among several hypotheses",
}
"""How models are trained."""
RENAMED = {"looks": "refinements"}
"""Settings of a training, and numbers of an architecture, by their names in earlier files."""

FLOWS = {
    "dis": "Dense inverse search: fast, part of OpenCV",
    "raft": "A network, slower, better at fast motion; needs torchvision in the backend's environment and its weights",
}

KINDS: dict[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}
TRUTH = {"true": True, "1": True, "on": True, "false": False, "0": False, "off": False}


@dataclass(frozen=True)
class Setting:
    """What is known of one tunable besides its value."""

    name: str
    default: Any
    label: str
    description: str
    group: str
    minimum: float | None = None
    maximum: float | None = None
    soft_maximum: float | None = None
    unit: str = ""
    choices: Mapping[str, str] | None = None
    source: str = ""
    methods: tuple[str, ...] = ()
    """Those that read it; empty where all do."""

    def is_read_by(self, method: str) -> bool:
        return not self.methods or method in self.methods

    def parse(self, value: Any) -> Any:
        """The value in this setting's type, from a number or a text; ValueError says what was found and needed."""
        kind = type(self.default)
        try:
            parsed = _of_kind(kind, value)
        except (KeyError, ValueError, TypeError, OverflowError):
            raise ValueError(f"setting {self.name}: found {value!r}, needs {KINDS[kind]}") from None
        if self.choices and parsed not in self.choices:
            raise ValueError(f"setting {self.name}: found {parsed!r}, needs one of {', '.join(self.choices)}")
        if kind in (int, float) and not self._allows(parsed):
            raise ValueError(f"setting {self.name}: found {parsed}, needs {self._range()}")
        return parsed

    def _allows(self, value: float) -> bool:
        return (self.minimum is None or value >= self.minimum) and (self.maximum is None or value <= self.maximum)

    def _range(self) -> str:
        if self.minimum is None:
            return f"{self.maximum:g} or less"
        return f"{self.minimum:g} or more" if self.maximum is None else f"{self.minimum:g} to {self.maximum:g}"


def _of_kind(kind: type, value: Any) -> Any:
    """The value as a bool, int, float or str; KeyError, ValueError, TypeError or OverflowError where it is none."""
    if kind is bool:
        return TRUTH[str(value).lower()]
    if kind is str:
        if not isinstance(value, str):
            raise TypeError
        return value
    if isinstance(value, bool):
        raise TypeError
    number = float(value)
    if not math.isfinite(number) or kind is int and number != int(number):
        raise ValueError
    return kind(number)


def setting(default: Any, label: str, description: str, group: str, **facts: Any) -> Any:
    """A field of `Tunables`; facts as in `Setting`."""
    return field(default=default, metadata={"facts": dict(label=label, description=description, group=group, **facts)})


def weight(default: float, label: str, description: str, source: str, *methods: str) -> Any:
    """Of a term of the objective."""
    return setting(default, label, description, "weights", minimum=0.0, soft_maximum=10.0 * default or 1.0,
                    source=source, methods=methods)


@dataclass(frozen=True)
class Tunables:
    """Values of settings; `describe()` tells what each of them is."""

    @classmethod
    def describe(cls) -> tuple[Setting, ...]:
        return tuple(Setting(f.name, f.default, **f.metadata["facts"]) for f in fields(cls))

    def with_values(self, values: Mapping[str, Any]) -> Self:
        """These settings with some replaced; ValueError for an unknown name or a value out of range."""
        known = {s.name: s for s in self.describe()}
        unknown = [name for name in values if name not in known]
        if unknown:
            raise ValueError(f"setting {unknown[0]}: unknown; known are {', '.join(known)}")
        return replace(self, **{name: known[name].parse(value) for name, value in values.items()})

    def items(self) -> Iterator[tuple[str, Any]]:
        return ((f.name, getattr(self, f.name)) for f in fields(self))

    def weights(self) -> dict[str, float]:
        """Weight of each term of the objective."""
        return {name.removeprefix("weight_"): value for name, value in self.items() if name.startswith("weight_")}


@dataclass(frozen=True)
class Settings(Tunables):
    """The values of one run."""

    crop_size: int = setting(
        256, "Crop Size", "Side of the square crop of the subject that the fit sees", "input",
        minimum=64, maximum=1024, unit="PIXEL", source="LASR and VMR: 256")

    flow: str = setting(
        "dis", "Optical Flow", "How motion from frame to frame is found", "input", choices=FLOWS,
        source="LASR: a network; DIS: Kroeger et al. 2016; RAFT: Teed & Deng 2020")

    field_of_view: float = setting(
        30.0, "Field of View", "Horizontal angle of the footage's camera, where nothing better is known", "camera",
        minimum=2.0, maximum=120.0, unit="DEGREES", source="between a phone's main camera (65) and a long lens (10)")
    fit_focal_length: bool = setting(
        False, "Fit Focal Length", "Let the subject's perspective correct the field of view, where no focal length is "
        "known; it may go the wrong way", "camera", methods=("lasr", "template"), source="measured; LASR: on")
    hypotheses: int = setting(
        16, "Camera Hypotheses", "Turning senses, rates and headings tried together before the best is kept", "camera",
        minimum=1, maximum=64, methods=("lasr", "template"), source="LASR: 16")
    upright: bool = setting(
        True, "Upright Subject", "The subject stands upright and turns about the vertical at first; freed later",
        "camera", methods=("lasr", "template"), source="measured: halves the error of the turn")

    bones: int = setting(
        36, "Bones", "Number of bones that move the mesh", "shape",
        minimum=1, maximum=128, soft_maximum=64, methods=("lasr",), source="LASR: 20 to 35")
    subdivision: int = setting(
        4, "Mesh Level", "Subdivisions of the sphere with bones: 3 has 642 vertices, 4 has 2,562, 5 has 10,242",
        "shape", minimum=3, maximum=5, methods=("lasr",), source="CMR: 3; LASR ends near 3.6")

    template_shape: str = setting(
        "auto", "Shape", "What may happen to the proportions of a template", "shape", methods=("template",),
        choices={"auto": "As the template itself has it: adapted where it is one of many, kept where it is a character",
                 "keep": "The template stays as it was modelled: only its pose and overall size are found",
                 "adapt": "Lengths and girths of its parts are found, and details of its surface"}, source="measured")

    rigid_iterations: int = setting(
        320, "Rigid Iterations", "Iterations of the stage in which only camera and rest shape move", "stages",
        minimum=10, maximum=20000, methods=("lasr", "template"), source="measured; LASR S0: 4000")
    coarse_iterations: int = setting(
        700, "Coarse Iterations", "Iterations with the first bones; limbs come out", "stages",
        minimum=10, maximum=20000, methods=("lasr", "template"), source="measured; LASR S1 and S2: 4000")
    fine_iterations: int = setting(
        2200, "Fine Iterations", "Iterations with the bones that the limbs get then", "stages",
        minimum=0, maximum=20000, methods=("lasr", "template"), source="measured; LASR S3 to S5: 6000")
    frames_per_iteration: int = setting(
        8, "Frames per Iteration", "Frames rendered in one iteration, in pairs with flow between them", "stages",
        minimum=2, maximum=64, source="LASR: 2 pairs on each of 2 GPUs")

    visits: int = setting(
        150, "Iterations per Frame", "Iterations that use a frame while one subject is fitted to all of them; "
        "0 leaves each frame as the category model predicts it by itself", "stages",
        minimum=0, maximum=10000, methods=("vmr",), source="measured")

    window: int = setting(
        50, "Window Size", "Consecutive frames adapted together", "windows",
        minimum=2, maximum=1000, unit="FRAMES", methods=("vmr",), source="VMR: 50")
    stride: int = setting(
        10, "Stride", "Frames from one window to the next", "windows",
        minimum=1, maximum=1000, unit="FRAMES", methods=("vmr",), source="VMR: 10")
    iterations: int = setting(
        40, "Iterations per Window", "Updates of the model in each window; 0 leaves it as it is", "windows",
        minimum=0, maximum=10000, methods=("vmr",), source="VMR: 40")
    parts: int = setting(
        6, "Parts", "Random parts followed through a window", "windows",
        minimum=1, maximum=64, methods=("vmr",), source="VMR: 6")

    weight_mask: float = weight(1.0, "Mask", "Rendered silhouette against the mask", "LASR: 0.5")
    weight_contour: float = weight(6.0, "Contour", "Distance of the mask's pixels from the mesh; reaches thin parts",
                                    "measured")
    weight_flow: float = weight(1.0, "Optical Flow", "Motion of the surface against optical flow", "LASR: 0.5")
    weight_colour: float = weight(0.25, "Colour", "Colour of the surface against the picture", "LASR: 0.25",
                                  "lasr", "template")
    weight_texture_swap: float = weight(0.25, "Texture Swap", "Colour of the surface in one frame against that in "
                                         "another", "VMR Eq. 5", "vmr")
    weight_laplacian: float = weight(100.0, "Smoothness", "Laplacian of the rest mesh", "measured", "lasr", "vmr")
    weight_flatten: float = weight(0.3, "Flatness", "Angles between neighbouring faces of the rest mesh",
                                    "LASR: 0.0005 of another form", "lasr")
    weight_arap: float = weight(4.0, "As Rigid As Possible", "Stretching of the mesh against its rest shape",
                                 "VMR Eq. 3; weight measured", "lasr", "vmr")
    weight_symmetry: float = weight(5.0, "Symmetry", "Difference of the rest mesh from its mirror image",
                                     "LASR: 1.0", "lasr")
    weight_side: float = weight(100.0, "Sides", "Left and right half of the rest mesh passing through each other",
                                 "measured", "lasr")
    weight_facing: float = weight(5.0, "Outside Out", "Walls that turn their inside to the camera", "measured")
    weight_joint: float = weight(10.0, "Joints", "Bones that leave the joint with their parent", "measured", "lasr")
    weight_motion: float = weight(0.1, "Least Motion", "Movement of the bones away from the rest pose",
                                   "LASR: 1.0 of another form", "lasr")
    weight_temporal: float = weight(0.1, "Smooth Motion", "Acceleration of bones or handles", "measured")

    weight_steadiness: float = weight(100.0, "Steady Camera", "Change of the rate at which the camera turns and moves",
                                       "measured")
    weight_path: float = weight(1.0, "Camera Path", "Angle of a frame's camera to the path through all frames, while "
                                 "windows are learnt", "measured", "vmr")
    weight_elevation: float = weight(0.1, "Level Camera", "Angle by which the camera looks down, from 9 degrees",
                                      "measured", "lasr", "template")
    weight_lens: float = weight(0.001, "Lens", "Fitted focal length away from that of the field of view", "measured",
                                 "lasr", "template")
    weight_hints: float = weight(0.3, "Facing Hints", "Angle of the camera to the facing hints, above 20 degrees",
                                  "measured", "lasr", "template")

    weight_part: float = weight(3.0, "Parts", "Parts propagated through a window against where the mesh has them",
                                 "VMR Eq. 4; UMR: 10 of another form", "vmr")
    weight_base_swap: float = weight(1.0, "Base Shape Swap", "Silhouette of one frame with the base shape of another",
                                      "VMR Eq. 6", "vmr")
    weight_texture_distance: float = weight(0.5, "Texture Distance", "Texture flow that leaves the mask", "CMR: 0.5",
                                             "vmr")
    weight_deformation: float = weight(0.05, "Least Deformation", "Distance of vertices from the base shape",
                                        "CMR: 10 of another form", "vmr")
    weight_handle: float = weight(0.01, "Idle Handles", "What handles do to the base shape", "measured", "vmr")
    weight_proportion: float = weight(0.3, "Even Proportions", "Difference in scale of the body's two sides",
                                       "measured", "vmr")
    weight_mirror: float = weight(0.3, "Even Pose", "Difference of what the body's two sides do", "measured", "vmr")

    weight_pose: float = weight(0.01, "Usual Pose", "Turns of a template's joints away from usual ones", "measured",
                                "template")
    weight_limit: float = weight(10.0, "Joint Limits", "Turns of a template's joints beyond what they can do",
                                 "measured", "template")
    weight_landmark: float = weight(0.3, "Landmarks", "Landmarks of a template away from where a category model sees "
                                    "them", "measured", "template")
    weight_shape: float = weight(0.1, "Usual Shape", "Proportions of a template away from usual ones", "measured",
                                 "template")
    weight_offset: float = weight(200.0, "Offsets", "Vertices of a template moved away from where its bones have them",
                                  "measured", "template")

    texture_size: int = setting(
        1024, "Texture Size", "Height of the baked texture; it is twice as wide", "texture",
        minimum=64, maximum=8192, unit="PIXEL", source="CMR: 128; an artist needs more")


@dataclass(frozen=True)
class Preset:
    """A named choice of settings; what it does not name keeps its default."""

    label: str
    description: str
    values: Mapping[str, Any]


PRESETS: dict[str, Preset] = {
    "preview": Preset(
        "Preview", "About a minute: tells whether camera and masks are right",
        {"crop_size": 128, "hypotheses": 6, "rigid_iterations": 200, "coarse_iterations": 250, "fine_iterations": 0,
         "subdivision": 3, "bones": 16, "texture_size": 512}),
    "standard": Preset("Standard", "A few minutes: good for most clips", {}),
    "high": Preset(
        "High", "Finer mesh, more hypotheses and iterations; best on a GPU",
        {"crop_size": 384, "hypotheses": 24, "rigid_iterations": 600, "coarse_iterations": 1600,
         "fine_iterations": 4000, "subdivision": 5, "bones": 48, "texture_size": 2048}),
}
DEFAULT_PRESET = "standard"


def settings_of(preset: str, values: Mapping[str, Any] | None = None) -> Settings:
    """A preset's settings with single values replaced; ValueError names what is wrong."""
    if preset not in PRESETS:
        raise ValueError(f"preset: found {preset!r}, needs one of {', '.join(PRESETS)}")
    return Settings().with_values(PRESETS[preset].values).with_values(values or {})
