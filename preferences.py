"""What belongs to the computer and not to a scene: the backend's interpreter, the device, the folders."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import bpy

from .jobs.backend import backend_python
from .jobs.folder import StoppedRun, stopped, total_size
from .jobs.models import ModelFile, models_in
from .panels.backend import draw_backend
from .scene.clip import shows

PACKAGE = __package__


def preferences() -> "VMR_AP_preferences":
    return bpy.context.preferences.addons[PACKAGE].preferences


def user_folder() -> Path:
    """The folder that Blender keeps for the extension, which outlives its updates; not made here."""
    try:
        return Path(bpy.utils.extension_path_user(PACKAGE))
    except ValueError:  # enabled as a plain add-on, from a checkout
        return Path(bpy.utils.user_resource("DATAFILES", path="video_mesh_reconstruction"))


def jobs_folder() -> Path:
    return _folder(preferences().jobs_folder, "jobs")


def models_folder() -> Path:
    return _folder(preferences().models_folder, "models")


def _folder(chosen: str, name: str) -> Path:
    return Path(bpy.path.abspath(chosen)) if chosen else user_folder() / name


def interpreter() -> Path | None:
    """The Python of the backend, or None where neither one is named nor the backend installed."""
    return backend_python(bpy.path.abspath(preferences().backend_python), user_folder())


class Remembered:
    """What is read from the disk for panels, which are drawn many times a second."""

    def __init__(self, read: Callable[[], Any], seconds: float):
        self._read, self._seconds, self._known_at, self._folder = read, seconds, float("-inf"), Path()

    def value(self) -> Any:
        folder, now = jobs_folder(), time.monotonic()
        if folder != self._folder or now - self._known_at > self._seconds:
            self._value, self._known_at, self._folder = self._read(), now, folder
        return self._value

    def forget(self) -> None:
        self._known_at = float("-inf")


_stopped = Remembered(lambda: stopped(jobs_folder()), 5.0)
_size = Remembered(lambda: total_size(jobs_folder()), 60.0)


def forget_jobs() -> None:
    """Something has changed in the jobs folder: panels are to read it again."""
    _stopped.forget()
    _size.forget()


def size_text(size: int) -> str:
    return f"{size / 1e9:.1f} GB" if size >= 1e9 else f"{size / 1e6:.0f} MB"


_device_items: list[tuple[str, str, str, int]] = []
"""Blender does not keep the texts of a menu alive."""


def _devices(self: "VMR_AP_preferences", _context: bpy.types.Context) -> list[tuple[str, str, str, int]]:
    names = [name for name in self.found_devices.split(";") if name.startswith("cuda")]
    _device_items[:] = [
        ("auto", "Automatic", "The GPU where there is one that can be used, else the CPU", 0),
        ("cpu", "CPU", "The processor", 1),
        *((name, name.upper(), f"The GPU that the backend calls {name}", 2 + i) for i, name in enumerate(names)),
    ]
    return _device_items


class VMR_AP_preferences(bpy.types.AddonPreferences):
    bl_idname = PACKAGE

    backend_python: bpy.props.StringProperty(
        name="Backend Python", subtype="FILE_PATH",
        description="Interpreter that has PyTorch and Warp. Empty for the one that Install Backend makes")
    device: bpy.props.EnumProperty(
        name="Device", items=_devices,
        description="What to compute on. Check Backend finds out what there is")
    renderer: bpy.props.EnumProperty(
        name="Renderer", description="What draws the mesh while it is fitted to the clip",
        items=[("warp", "Warp", "Comes with the backend"),
               ("pytorch3d", "PyTorch3D", "Must be built into the backend's environment: Check Backend finds out. "
                                          "Some hundred times slower on a CPU")])
    found_devices: bpy.props.StringProperty(options={"HIDDEN"})
    """What the last check found, joined by semicolons."""
    jobs_folder: bpy.props.StringProperty(
        name="Jobs Folder", subtype="DIR_PATH",
        description="Where runs keep their checkpoints and results. Empty for the extension's own folder")
    models_folder: bpy.props.StringProperty(
        name="Models Folder", subtype="DIR_PATH",
        description="Where category models lie. Empty for the extension's own folder")

    mask_network: bpy.props.StringProperty(
        name="Mask Network", subtype="FILE_PATH",
        description="An ONNX network or a checkpoint of SAM 2 that finds masks instead of the bundled one. "
                    "Needs onnxruntime or sam2 in the backend's environment")

    def stopped_run(self, clip: bpy.types.MovieClip) -> StoppedRun | None:
        """For panels: the newest run about a clip that was stopped."""
        return next((run for run in _stopped.value() if shows(clip, run.clip, run.files)), None)

    @property
    def backend_found(self) -> bool:
        """For panels: whether there is an interpreter at all."""
        return interpreter() is not None

    @property
    def models(self) -> list[ModelFile]:
        """For panels: the category models, those that come with the extension first."""
        return models_in(models_folder())

    def draw(self, context: bpy.types.Context) -> None:
        layout = self.layout
        layout.use_property_split = True
        layout.use_property_decorate = False
        for name in ("backend_python", "device", "renderer", "jobs_folder", "models_folder", "mask_network"):
            layout.prop(self, name)
        row = layout.row()
        row.label(text=f"Jobs: {size_text(_size.value())}")
        row.operator("vmr.remove_old_jobs", icon="TRASH")
        draw_backend(layout, context, self.backend_found)


register, unregister = bpy.utils.register_classes_factory((VMR_AP_preferences,))  # type: ignore[attr-defined]
