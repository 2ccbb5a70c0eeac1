"""Frames as Blender shows them, rendered to images: of a clip, a strip of the sequencer, the compositor or a mask.

What is shown is described in the user's Blender (`shown_by_...`) and rendered in another one, on a copy of the file
(`render_shown`, by blend_program.py). Clips go through the compositor, which alone heeds their colour space; strips and
masks through the Video Sequencer.

Colours are those of the files ("Standard"), whatever view transform the scene has: that one is applied when the
textured mesh is rendered.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import bpy

from ..vmr_backend.job import BadInput
from .clip import frame_number, scene_frame
from .png_output import set_png

PART = ".part"
"""Where images are until all of them are there."""
WITHOUT_PICTURE = {"SOUND"}

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Shown:
    """Frames to be rendered: `FOLDER/000105.png` and so on."""

    source: str
    """CLIP, STRIP, COMPOSITING or MASK."""
    name: str
    """Of the clip, strip or mask; for the compositor, of its scene."""
    scene: str
    """Whose sequencer or compositor it is; for a clip or a mask any."""
    size: tuple[int, int]
    """Of the images, pixels."""
    first: int
    """Number of the first image; for a strip and the compositor the scene's frame."""
    count: int
    at: int = 0
    """For a mask, the scene's frame that the first image shows."""


def shown_by_clip(clip: bpy.types.MovieClip) -> Shown:
    """All frames of a clip, numbered as the clip is; BadInput where it shows none."""
    if clip.frame_duration < 1 or not all(clip.size):
        raise BadInput(f"{clip.name}: found no frames that Blender can decode; needs a video file or an image sequence")
    first, offset = frame_number(clip, clip.frame_start), max(clip.frame_offset, 0)
    return Shown("CLIP", clip.name, "", tuple(clip.size), max(first, offset), clip.frame_duration - offset)


def shown_by_strip(scene: bpy.types.Scene) -> Shown:
    """The active strip of a scene's sequencer with the effects on it alone, at the scene's size and frames."""
    strip = active_strip(scene)
    if strip is None:
        raise BadInput(f"scene {scene.name}: found no active strip; needs one chosen in the Video Sequencer")
    if strip.type in WITHOUT_PICTURE:
        raise BadInput(f"strip {strip.name}: shows no picture; needs a movie, an image sequence or a clip")
    if strip.name not in {one.name for one in strips_of(scene)}:
        raise BadInput(f"strip {strip.name}: lies in a meta strip; needs that one chosen, or the strip taken out of it")
    for path in _files_of(strip):
        if not path.exists():
            raise BadInput(f"{path}: file of the strip {strip.name} not found; needs the movie or the images it was "
                           "made of")
    first, end = max(int(strip.frame_final_start), 0), int(strip.frame_final_end)
    return Shown("STRIP", strip.name, scene.name, _size_of(scene), first, _at_least_one(end - first, strip.name))


def shown_by_compositing(scene: bpy.types.Scene) -> Shown:
    """What a scene's compositor makes at the frames of its range, with alpha."""
    uses = scene.compositing_node_group is not None if hasattr(scene, "compositing_node_group") else scene.use_nodes
    if not uses:
        raise BadInput(f"scene {scene.name}: found no compositing nodes; needs some with an output, such as a keying "
                       "node's")
    return Shown("COMPOSITING", scene.name, scene.name, _size_of(scene), scene.frame_start,
                 scene.frame_end - scene.frame_start + 1)


def shown_by_mask(mask: bpy.types.Mask, clip: bpy.types.MovieClip, first: int, last: int) -> Shown:
    """A mask over frames `first` to `last` of a clip (its own numbers)."""
    if not any(len(layer.splines) and not layer.hide_render for layer in mask.layers):
        raise BadInput(f"mask {mask.name}: found no spline in a layer that is rendered; needs the subject's outline")
    return Shown("MASK", mask.name, "", tuple(clip.size), first, last - first + 1, scene_frame(clip, first))


def strips_of(scene: bpy.types.Scene) -> Any:
    """The strips that lie in the sequencer itself, not in a meta strip."""
    editor: Any = scene.sequence_editor or scene.sequence_editor_create()
    return editor.strips if hasattr(editor, "strips") else editor.sequences


def active_strip(scene: bpy.types.Scene) -> Any:
    return scene.sequence_editor and scene.sequence_editor.active_strip


def render_shown(shown: Shown, folder: Path, progress: Progress) -> None:
    """Render the images into a folder; those of an earlier time stay until all are there. Changes the opened file."""
    scene = _PREPARE[shown.source](shown)
    part = folder / PART
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    _render(scene, shown, part, progress)
    images = sorted(part.iterdir())
    if len(images) != shown.count:
        raise BadInput(f"{shown.name}: Blender rendered {len(images)} of {shown.count} frames; more in its log")
    for old in folder.glob("*.png"):
        old.unlink()
    for image in images:
        image.rename(folder / image.name)
    part.rmdir()


def _of_clip(shown: Shown) -> bpy.types.Scene:
    clip = _found(bpy.data.movieclips, shown)
    clip.use_proxy = False
    clip.frame_start += shown.first - scene_frame(clip, shown.first)
    scene: Any = bpy.data.scenes.new("shown")
    # Without a layer to be rendered no engine has anything to do.
    scene.render.engine = "CYCLES"
    tree, output = _compositor_of(scene)
    node = tree.nodes.new("CompositorNodeMovieClip")
    node.clip = clip
    tree.links.new(node.outputs["Image"], output)
    return scene


def _compositor_of(scene: Any) -> tuple[Any, Any]:
    """A new tree of compositing nodes, and the socket that takes its image."""
    if hasattr(scene, "compositing_node_group"):  # Blender 5.0
        tree = scene.compositing_node_group = bpy.data.node_groups.new("shown", "CompositorNodeTree")
        tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
        return tree, tree.nodes.new("NodeGroupOutput").inputs[0]
    scene.use_nodes = True
    scene.node_tree.nodes.clear()
    return scene.node_tree, scene.node_tree.nodes.new("CompositorNodeComposite").inputs[0]


def _of_mask(shown: Shown) -> bpy.types.Scene:
    mask = _found(bpy.data.masks, shown)
    # Strips of masks leave out the last frame.
    mask.frame_start, mask.frame_end = shown.at, shown.at + shown.count
    scene = bpy.data.scenes.new("shown")
    strips_of(scene).new_mask("mask", mask, channel=1, frame_start=shown.first)
    return scene


def _of_strip(shown: Shown) -> bpy.types.Scene:
    scene = bpy.data.scenes[shown.scene]
    strips = strips_of(scene)
    kept = _with_effects(_found(strips, shown), list(strips))
    for strip in strips:
        strip.mute = strip.name not in kept
        if hasattr(strip, "use_proxy"):
            strip.use_proxy = False
    for channel in scene.sequence_editor.channels:
        channel.mute = False
    return scene


def _of_compositing(shown: Shown) -> bpy.types.Scene:
    return bpy.data.scenes[shown.scene]


_PREPARE = {"CLIP": _of_clip, "STRIP": _of_strip, "COMPOSITING": _of_compositing, "MASK": _of_mask}


def _render(scene: bpy.types.Scene, shown: Shown, folder: Path, progress: Progress) -> None:
    render: Any = scene.render
    composited = shown.source in {"CLIP", "COMPOSITING"}
    scene.frame_start, scene.frame_end, scene.frame_step = shown.first, shown.first + shown.count - 1, 1
    set_png(render, shown.size, {"MASK": "BW", "STRIP": "RGB"}.get(shown.source, "RGBA"), compression=15)
    render.image_settings.color_management = "FOLLOW_SCENE"
    render.pixel_aspect_x = render.pixel_aspect_y = 1
    render.use_sequencer, render.use_compositing = not composited, composited
    render.use_border = render.use_multiview = render.use_stamp = False
    render.use_file_extension, render.use_overwrite, render.use_placeholder = True, True, False
    view: Any = scene.view_settings
    view.view_transform, view.look, view.exposure, view.gamma = "Standard", "None", 0, 1
    view.use_curve_mapping = False
    render.filepath = f"{folder}/######"
    done = 0

    def written(*_: Any) -> None:
        nonlocal done
        done += 1
        progress(done, shown.count)

    bpy.app.handlers.render_write.append(written)
    # Of clips and masks in other scenes than the window's Blender shows one frame.
    bpy.context.window.scene = scene
    bpy.ops.render.render(animation=True, scene=scene.name)


def _with_effects(chosen: Any, strips: list[Any]) -> set[str]:
    """Names of a strip, of what it is made of, and of the effects that take nothing else in."""
    kept, waiting = set(), [chosen]
    while waiting:
        strip = waiting.pop()
        kept.add(strip.name)
        waiting += _inputs_of(strip)
    grown = True
    while grown:
        upon = {strip.name for strip in strips if (inputs := _inputs_of(strip))
                and all(one.name in kept for one in inputs)}
        grown = not upon <= kept
        kept |= upon
    return kept


def _inputs_of(strip: Any) -> list[Any]:
    return [one for name in ("input_1", "input_2") if (one := getattr(strip, name, None)) is not None]


def _files_of(strip: Any) -> Iterator[Path]:
    """The files of a movie or of images; of other strips none."""
    if strip.type == "MOVIE":
        yield Path(bpy.path.abspath(strip.filepath))
    elif strip.type == "IMAGE":
        folder = Path(bpy.path.abspath(strip.directory))
        yield from (folder / element.filename for element in strip.elements)


def _found(blocks: Any, shown: Shown) -> Any:
    if (block := blocks.get(shown.name)) is None:
        raise BadInput(f"{shown.name}: not found in the file")
    return block


def _size_of(scene: bpy.types.Scene) -> tuple[int, int]:
    return scene.render.resolution_x, scene.render.resolution_y


def _at_least_one(count: int, name: str) -> int:
    if count < 1:
        raise BadInput(f"strip {name}: ends before frame 0 of the scene, from which on Blender renders; move it")
    return count
