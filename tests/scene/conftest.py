"""A result added to an empty file, over a movie of its own."""

from dataclasses import dataclass
from pathlib import Path

import bpy
import pytest
from blender_clips import make_images
from video_mesh_reconstruction.scene.result import add_result
from video_mesh_reconstruction.vmr_backend.reconstruction import Reconstruction
from wobbling_ball import save_texture, wobbling_ball


@dataclass
class Added:
    result: Reconstruction
    frames: list[int]
    """Scene frame of each of the result's frames."""
    mesh: bpy.types.Object
    camera: bpy.types.Object
    root: bpy.types.Object
    """What both hang on."""
    clip: bpy.types.MovieClip
    folder: Path


@pytest.fixture
def add(empty_file, tmp_path):
    """Adds a wobbling ball of five frames, or another result, over an image sequence from 105 at scene frame 11."""
    return adder(tmp_path)


@pytest.fixture
def add_to_default(tmp_path):
    """The same in the scene that Blender starts with: its cube, its light, its camera."""
    bpy.ops.wm.read_homefile(use_factory_startup=True)
    return adder(tmp_path)


def adder(tmp_path):
    def add(result=None, start=11, name="ball", motion="SHAPE_KEYS", **options) -> Added:
        result = result or wobbling_ball(range(105, 110))
        size = tuple(int(side) for side in result.image_size)
        clip = bpy.data.movieclips.load(str(make_images(tmp_path / "clip", range(105, 115), size=size)))
        clip.frame_start = start
        folder = tmp_path / "result é"
        folder.mkdir(exist_ok=True)
        save_texture(folder)
        mesh = add_result(bpy.context, clip, result, folder, name, motion, **options)
        frames = [int(number) - 105 + start for number in result.frames]
        (camera,) = (one for one in mesh.users_collection[0].objects if one.type == "CAMERA")
        return Added(result, frames, mesh, camera, camera.parent, clip, folder)

    return add
