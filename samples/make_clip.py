"""Makes the project's sample clip with Blender: a procedural painted dog that walks, a camera that circles it.

    python samples/make_clip.py [--out samples/painted_dog] [--frames 48] [--size 384x288] [--orbit 100] [--seed 0]

`python` is one with the `bpy` wheel (4.2 to 5.0), such as .venv-bpy-4.5/bin/python. OUT receives
  clip.mp4          the film, 24 frames a second
  masks/0000.png …  the animal white on black, numbered as the clip's frames from 0
  ground_truth.npz  vertices (T, V, 3) in metres, z up; faces (F, 3); world_to_camera (T, 4, 4), camera axes x right,
                    y down, z forward; intrinsics (T, 4) fx fy cx cy in pixels; image_size (2,) width height
The same arguments give the same clip. Another seed gives an animal of other proportions, coat and surroundings.
"""

import argparse
import math
import pathlib

import animal
import bpy
import meadow
import numpy as np
import walk
from mathutils import Matrix, Vector

FRAMES_PER_SECOND = 24
FIELD_OF_VIEW = math.radians(26)
CAMERA_DISTANCE = 4.3
LOOK_AT_HEIGHT = .56


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent / "painted_dog")
    parser.add_argument("--frames", type=int, default=48)
    parser.add_argument("--size", type=width_and_height, default=(384, 288), help="in pixels, both even")
    parser.add_argument("--orbit", type=float, default=100, help="degrees the camera travels round the animal")
    parser.add_argument("--start", type=float, default=40, help="where it starts: 0 in front, 90 at the left")
    parser.add_argument("--seed", type=int, default=0, help="proportions, coat and surroundings")
    parser.add_argument("--vertices", type=int, default=2400, help="about how many the mesh has")
    parser.add_argument("--samples", type=int, default=24, help="light paths a pixel")
    parser.add_argument("--blend", type=pathlib.Path, help="also save the scene here")
    return parser.parse_args()


def width_and_height(text):
    width, height = (int(n) for n in text.split("x"))
    if width % 2 or height % 2:
        raise argparse.ArgumentTypeError(f"{text}: H.264 needs an even width and height")
    return width, height


def main():
    a = arguments()
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    scene.frame_start, scene.frame_end, scene.render.fps = 0, a.frames - 1, FRAMES_PER_SECOND
    stretched = animal.proportions(a.seed)
    bones = walk.skeleton(stretched)
    dog = build_animal(stretched, bones, a.vertices, a.seed)
    rig = build_rig(bones, dog)
    animate(rig, bones, a.frames)
    surroundings = meadow.build(scene, a.seed)
    way = walk.stride_length(bones) * np.arange(a.frames) / walk.CYCLE_FRAMES
    camera = build_camera(scene, way, math.radians(a.start), math.radians(a.orbit))
    a.out.mkdir(parents=True, exist_ok=True)
    save_ground_truth(a.out / "ground_truth.npz", scene, dog, camera, a.size)
    if a.blend:
        bpy.ops.wm.save_as_mainfile(filepath=str(a.blend.resolve()))
    film(scene, a.out / "clip.mp4", a.size, a.samples)
    film_masks(scene, a.out / "masks", dog, surroundings)


def build_animal(stretched, bones, vertex_count, seed):
    """The textured mesh object in its rest pose, with a vertex group for each bone."""
    field, first = animal.distance_field(voxel=.009)
    shape, faces = reduced(*animal.surface_net(field, first, .009), vertex_count)
    mesh = bpy.data.meshes.new("painted dog")
    mesh.from_pydata(stretched(shape).tolist(), [], faces.tolist())
    mesh.shade_smooth()
    mesh.materials.append(coat_material(mesh, shape, faces, seed))
    dog = bpy.data.objects.new("painted dog", mesh)
    bpy.context.scene.collection.objects.link(dog)
    for name, weights in zip(bones, walk.skin_weights(stretched(shape), faces, bones).T, strict=True):
        group = dog.vertex_groups.new(name=name)
        for vertex in np.flatnonzero(weights):
            group.add([int(vertex)], float(weights[vertex]), "REPLACE")
    return dog


def reduced(vertices, quads, vertex_count):
    """The same surface with about `vertex_count` vertices: (V, 3), triangles (F, 3)."""
    mesh = bpy.data.meshes.new("fine")
    mesh.from_pydata(vertices.tolist(), [], quads.tolist())
    fine = bpy.data.objects.new("fine", mesh)
    bpy.context.scene.collection.objects.link(fine)
    smooth = fine.modifiers.new("smooth", "SMOOTH")
    smooth.factor, smooth.iterations = .5, 4
    decimate = fine.modifiers.new("decimate", "DECIMATE")
    decimate.ratio, decimate.use_collapse_triangulate = vertex_count / len(vertices), True
    result = evaluated(fine)
    bpy.data.objects.remove(fine)
    return result


def evaluated(obj):
    """Vertices (V, 3) in the world and triangles (F, 3) of an object as it is at the current frame."""
    posed = obj.evaluated_get(bpy.context.evaluated_depsgraph_get())
    mesh = posed.to_mesh()
    vertices = np.empty((len(mesh.vertices), 3), np.float32)
    mesh.vertices.foreach_get("co", vertices.ravel())
    mesh.calc_loop_triangles()
    faces = np.empty((len(mesh.loop_triangles), 3), np.int32)
    mesh.loop_triangles.foreach_get("vertices", faces.ravel())
    world = np.array(posed.matrix_world)
    posed.to_mesh_clear()
    return vertices @ world[:3, :3].T.astype(np.float32) + world[:3, 3].astype(np.float32), faces


def coat_material(mesh, shape, faces, seed):
    """Gives the mesh a UV map and returns a material with the coat, painted by positions on the unstretched `shape`."""
    uv, triangle, weights = animal.triangle_atlas(len(faces))
    mesh.uv_layers.new(name="UVMap").uv.foreach_set("vector", uv.astype(np.float32).ravel())
    positions = (weights[..., None] * shape[faces[triangle]]).sum(-2).reshape(-1, 3)
    image = bpy.data.images.new("coat", *triangle.shape)
    image.pixels.foreach_set(np.c_[animal.coat(positions, seed), np.ones(len(positions))].astype(np.float32).ravel())
    image.pack()
    material = bpy.data.materials.new("coat")
    material.use_nodes = True
    nodes = material.node_tree.nodes
    texture = nodes.new("ShaderNodeTexImage")
    texture.image = image
    shader = nodes["Principled BSDF"]
    shader.inputs["Roughness"].default_value = .65
    material.node_tree.links.new(texture.outputs["Color"], shader.inputs["Base Color"])
    return material


def build_rig(bones, dog):
    """The armature object that carries the mesh."""
    armature = bpy.data.armatures.new("skeleton")
    rig = bpy.data.objects.new("skeleton", armature)
    bpy.context.scene.collection.objects.link(rig)
    bpy.context.view_layer.objects.active = rig
    bpy.ops.object.mode_set(mode="EDIT")
    for name, bone in bones.items():
        edit = armature.edit_bones.new(name)
        edit.head, edit.tail = bone.head, bone.tail
        if bone.parent:
            edit.parent = armature.edit_bones[bone.parent]
    bpy.ops.object.mode_set(mode="OBJECT")
    dog.parent = rig
    dog.modifiers.new("skeleton", "ARMATURE").object = rig
    return rig


def animate(rig, bones, frames):
    """Keys the walk on every bone at every frame."""
    rest = {name: np.array(rig.data.bones[name].matrix_local) for name in bones}
    last = {}
    for frame in range(frames):
        motion = walk.walking(bones, frame / walk.CYCLE_FRAMES)
        for name, bone in bones.items():
            own = motion[name] if not bone.parent else np.linalg.inv(motion[bone.parent]) @ motion[name]
            position, rotation, _ = Matrix(np.linalg.inv(rest[name]) @ own @ rest[name]).decompose()
            if name in last:
                rotation.make_compatible(last[name])
            last[name] = rotation
            pose = rig.pose.bones[name]
            pose.location, pose.rotation_quaternion = position, rotation
            pose.keyframe_insert("location", frame=frame)
            pose.keyframe_insert("rotation_quaternion", frame=frame)


def build_camera(scene, way, start, orbit):
    """The scene's camera, keyed: it keeps pace with the animal (`way` (T,), metres) and circles it."""
    camera = bpy.data.objects.new("camera", bpy.data.cameras.new("camera"))
    scene.collection.objects.link(camera)
    scene.camera = camera
    camera.data.sensor_fit, camera.data.angle = "HORIZONTAL", FIELD_OF_VIEW
    camera.rotation_mode = "QUATERNION"
    last = None
    for frame, forward in enumerate(way):
        part = frame / max(len(way) - 1, 1)
        azimuth, elevation = start + orbit * part, math.radians(8 + 3 * math.sin(2 * math.pi * part - 1))
        target = Vector((forward, 0, LOOK_AT_HEIGHT))
        from_target = Vector((math.cos(elevation) * math.cos(azimuth), math.cos(elevation) * math.sin(azimuth),
                              math.sin(elevation)))
        camera.location = target + CAMERA_DISTANCE * from_target
        camera.rotation_quaternion = (-from_target).to_track_quat("-Z", "Y")
        if last:
            camera.rotation_quaternion.make_compatible(last)
        last = camera.rotation_quaternion.copy()
        camera.keyframe_insert("location", frame=frame)
        camera.keyframe_insert("rotation_quaternion", frame=frame)
    return camera


def save_ground_truth(path, scene, dog, camera, size):
    """Writes what the film shows, in numbers; see the top of this file."""
    shapes, cameras = [], []
    for frame in range(scene.frame_start, scene.frame_end + 1):
        scene.frame_set(frame)
        vertices, faces = evaluated(dog)
        shapes.append(np.round(vertices * 8192) / 8192)  # an eighth of a millimetre: half the size on disk
        cameras.append(np.diag([1, -1, -1, 1]) @ np.array(camera.matrix_world.inverted()))
    focal = size[0] / 2 / math.tan(FIELD_OF_VIEW / 2)
    np.savez_compressed(path, vertices=np.stack(shapes), faces=faces, world_to_camera=np.stack(cameras),
                        intrinsics=np.tile([focal, focal, size[0] / 2, size[1] / 2], (len(shapes), 1)),
                        image_size=np.array(size, np.int32))


def film(scene, path, size, samples):
    """Renders the scene to an H.264 file."""
    render = scene.render
    render.engine, scene.cycles.device, scene.cycles.samples = "CYCLES", "CPU", samples
    scene.cycles.use_denoising, scene.cycles.max_bounces = True, 4
    scene.cycles.use_animated_seed = True  # grain that stood still would look like texture that moves with the camera
    render.use_persistent_data = True
    render.resolution_x, render.resolution_y = size
    scene.view_settings.view_transform = "Standard"
    if hasattr(render.image_settings, "media_type"):  # from Blender 5.0
        render.image_settings.media_type = "VIDEO"
    render.image_settings.file_format = "FFMPEG"
    render.ffmpeg.format, render.ffmpeg.codec, render.ffmpeg.constant_rate_factor = "MPEG4", "H264", "PERC_LOSSLESS"
    render.filepath = str(path.resolve())
    bpy.ops.render.render(animation=True)


def film_masks(scene, folder, dog, surroundings):
    """Renders the animal alone, white on black, one image a frame."""
    for obj in surroundings:
        obj.hide_render = True
    scene.world = None
    white = bpy.data.materials.new("white")
    white.use_nodes = True
    white.node_tree.nodes.clear()
    light, out = (white.node_tree.nodes.new(kind) for kind in ("ShaderNodeEmission", "ShaderNodeOutputMaterial"))
    white.node_tree.links.new(light.outputs[0], out.inputs[0])
    dog.data.materials[0] = white
    scene.cycles.samples, scene.cycles.use_denoising, scene.view_settings.view_transform = 16, False, "Raw"
    scene.render.dither_intensity = 0
    settings = scene.render.image_settings
    if hasattr(settings, "media_type"):
        settings.media_type = "IMAGE"
    settings.file_format, settings.color_mode, settings.compression = "PNG", "BW", 100
    scene.render.filepath = str(folder.resolve() / "####")
    bpy.ops.render.render(animation=True)


if __name__ == "__main__":
    main()
