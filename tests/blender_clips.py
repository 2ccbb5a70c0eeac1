"""Makes small clips with Blender, each frame of a grey level that tells its number, and looks which one is shown."""

import struct
from pathlib import Path

import bpy
import numpy as np

SIZE = (64, 48)


def make_images(folder: Path, numbers, name="f_{:04d}.png", size=SIZE) -> Path:
    """Images whose grey level tells the place in the list (up to 20); the first one's path."""
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / name.format(number) for number in numbers]
    for place, path in enumerate(paths):
        image = bpy.data.images.new("frame", *size)
        image.pixels.foreach_set(np.tile(np.float32([*[_level(place)] * 3, 1]), size[0] * size[1]))
        image.filepath_raw, image.file_format = str(path), "PNG"
        image.save()
        bpy.data.images.remove(image)
    return paths[0]


def make_movie(path: Path, count=8, fps=25, fps_base=1.0) -> Path:
    """A movie whose frames' grey levels tell their numbers."""
    images = make_images(path.parent / f"{path.stem} frames", range(count))
    scene = bpy.data.scenes.new("movie")
    editor = scene.sequence_editor_create()
    strips = editor.strips if hasattr(editor, "strips") else editor.sequences
    strip = strips.new_image("frames", str(images), channel=1, frame_start=1)
    for other in sorted(images.parent.iterdir())[1:]:
        strip.elements.append(other.name)
    render = scene.render
    scene.frame_start, scene.frame_end, render.fps, render.fps_base = 1, count, fps, fps_base
    render.resolution_x, render.resolution_y = SIZE
    scene.view_settings.view_transform = "Standard"
    if hasattr(render.image_settings, "media_type"):
        render.image_settings.media_type = "VIDEO"
    render.image_settings.file_format = "FFMPEG"
    render.ffmpeg.format, render.ffmpeg.codec, render.ffmpeg.gopsize = "MPEG4", "H264", 4
    render.filepath, render.use_file_extension = str(path), False
    bpy.ops.render.render(animation=True, scene=scene.name)
    bpy.data.scenes.remove(scene)
    return path


def shown_place(clip: bpy.types.MovieClip, frame: int, folder: Path) -> int | None:
    """Which frame of `make_images` or `make_movie` Blender shows at a scene frame, by rendering it; None for black.

    The scene of the context becomes one that shows clips: of other scenes Blender renders their first frame.
    """
    scene = bpy.context.scene
    tree, output = compositing_of(scene)
    source = tree.nodes.new("CompositorNodeMovieClip")
    source.clip = clip
    tree.links.new(source.outputs["Image"], output)
    scene.render.engine, scene.render.filepath = "CYCLES", str(folder / "look.png")
    scene.render.resolution_x, scene.render.resolution_y = SIZE
    scene.view_settings.view_transform = "Standard"
    scene.frame_set(frame)
    bpy.ops.render.render(write_still=True)
    return place_of_level(pixels_of(folder / "look.png")[..., 0].mean())


def compositing_of(scene: bpy.types.Scene):
    """A new tree of compositing nodes, and the socket that takes its image."""
    if hasattr(scene, "compositing_node_group"):
        tree = scene.compositing_node_group = bpy.data.node_groups.new("look", "CompositorNodeTree")
        tree.interface.new_socket("Image", in_out="OUTPUT", socket_type="NodeSocketColor")
        return tree, tree.nodes.new("NodeGroupOutput").inputs[0]
    scene.use_nodes = True
    scene.node_tree.nodes.clear()
    return scene.node_tree, scene.node_tree.nodes.new("CompositorNodeComposite").inputs[0]


def place_of_level(level: float) -> int | None:
    """Which frame of `make_images` or `make_movie` has a grey level; None for black."""
    return None if level < 0.02 else round((level - _level(0)) / (_level(1) - _level(0)))


def pixels_of(path: Path) -> np.ndarray:
    """(H, W, 4) float32 of an image file, bottom row first."""
    image = bpy.data.images.load(str(path))
    values = np.empty(image.size[0] * image.size[1] * 4, np.float32)
    image.pixels.foreach_get(values)
    values = values.reshape(image.size[1], image.size[0], 4)
    bpy.data.images.remove(image)
    return values


def with_frame_durations(movie: bytes, runs: list[tuple[int, float]]) -> bytes:
    """An MP4 file whose header stands at its end, with other durations: (count, times the duration it had)."""
    at = movie.index(b"stts") - 4
    length, old = struct.unpack_from(">I", movie, at)[0], struct.unpack_from(">I", movie, at + 20)[0]
    table = b"".join(struct.pack(">II", count, round(times * old)) for count, times in runs)
    box = struct.pack(">I4sII", 16 + len(table), b"stts", 0, len(runs)) + table
    changed = bytearray(movie[:at] + box + movie[at + length :])
    for kind in (b"moov", b"trak", b"mdia", b"minf", b"stbl"):
        parent = movie.index(kind) - 4
        struct.pack_into(">I", changed, parent, struct.unpack_from(">I", movie, parent)[0] + len(box) - length)
    return bytes(changed)


def turned_by_90(movie: bytes) -> bytes:
    """An MP4 file with the matrix of its picture track turned."""
    matrix = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)
    at = movie.index(b"tkhd") + 4 + 40
    return movie[:at] + matrix + movie[at + 36 :]


def _level(place: int) -> float:
    return (20 + 11 * place) / 255
