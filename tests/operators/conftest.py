"""A scene with a clip, masks, and a backend whose interpreter is a script that does as it is told."""

import importlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

HERE = Path(__file__).parent


class FakeBackend:
    """An interpreter that yields a prepared result, or does what else `behave` names."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.python = folder / "python"
        self.python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "{HERE / "fake_backend.py"}" "{folder}" "$@"\n')
        self.python.chmod(0o755)
        self.behave("yield the result")

    def behave(self, deed: str) -> None:
        (self.folder / "deed").write_text(deed)

    @property
    def calls(self) -> list[list[str]]:
        """The arguments of each call so far."""
        path = self.folder / "calls"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def extension(installed_extension, empty_file, tmp_path):
    """The enabled extension's modules by name, with preferences of its own."""
    import bpy

    preferences = bpy.context.preferences.addons[installed_extension].preferences
    preferences.backend_python, preferences.found_devices = "", ""
    preferences.device, preferences.jobs_folder = "auto", str(tmp_path / "jobs")
    preferences.models_folder, preferences.renderer = str(tmp_path / "models"), "warp"

    def module(name):
        return importlib.import_module(f"{installed_extension}.{name}")

    properties = module("properties")
    for activity in (properties.reconstruction_activity, properties.backend_activity, properties.training_activity,
                     properties.segmentation_activity, properties.frames_activity):
        activity.reset()
    return SimpleNamespace(name=installed_extension, module=module, preferences=preferences)


@pytest.fixture
def backend(extension, tmp_path):
    """A backend that works, named in the preferences; its result has the frames of `footage`."""
    from wobbling_ball import save_texture, wobbling_ball

    folder = tmp_path / "backend"
    (folder / "result").mkdir(parents=True)
    fake = FakeBackend(folder)
    fake.result = wobbling_ball(range(3, 8), size=(64, 48), centre=(30.0, 25.0), focal=(120.0, 120.0))
    fake.result.save(folder / "result")
    save_texture(folder / "result")
    extension.preferences.backend_python = str(fake.python)
    return fake


@pytest.fixture
def footage(extension, tmp_path):
    """A clip of frames 3 to 7 with masks, chosen in the scene."""
    import bpy
    from blender_clips import make_images

    first = make_images(tmp_path / "walk", range(3, 8))
    masks = make_images(tmp_path / "walk masks", range(3, 8))
    clip = bpy.data.movieclips.load(str(first))
    clip.vmr.inputs.masks = str(masks.parent)
    return clip


@pytest.fixture
def untouched(extension):
    """Says whether the file is as it was when the test began to watch: `state = untouched(); ...; untouched(state)`."""
    import bpy

    def state():
        lists = {name: getattr(bpy.data, name) for name in dir(bpy.data)}
        blocks = {name: sorted(block.name for block in blocks) for name, blocks in lists.items()
                  if isinstance(blocks, bpy.types.bpy_prop_collection)}
        scene = bpy.context.scene
        render, camera = scene.render, scene.camera and scene.camera.name
        return blocks | {"scene": (scene.frame_start, scene.frame_end, scene.frame_current, camera,
                                   render.resolution_x, render.resolution_y, render.fps)}

    return state
