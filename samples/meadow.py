"""The sample's surroundings, built in Blender: a meadow with grass, bushes and stones, hills, clouds and a low sun."""

import animal
import bpy
import numpy as np

CORRIDOR = .42  # metres to each side of the animal's path that stay free of grass, so that no foot is hidden
CAMERA_ROOM = 6.5  # metres around the path that stay free of bushes

SOIL = ((.07, .065, .03), (.17, .18, .06), (.30, .27, .12), (.50, .42, .24))
GRASS = ((.05, .09, .02), (.35, .38, .10))
BUSH = ((.012, .03, .008), (.10, .16, .04))
STONE = ((.10, .09, .08), (.42, .38, .33))


def build(scene, seed):
    """Adds everything and returns the objects."""
    rng = np.random.default_rng(seed)
    objects = [ground(seed), grass(rng), *scattered(mottled("bush", BUSH, 6), rng, 60, 4, .35, 1.2),
               *scattered(mottled("stone", STONE, 9), rng, 40, 3, .08, .3), sun()]
    for obj in objects:
        scene.collection.objects.link(obj)
    scene.world = sky()
    return objects


def mottled(name, colours, scale, detail=8):
    """A matt material that wanders between colours, dark to light, `scale` times a metre."""
    material = bpy.data.materials.new(name)
    material.use_nodes = True
    tree = material.node_tree
    coordinates, noise, ramp = (tree.nodes.new(f"ShaderNode{kind}") for kind in ("NewGeometry", "TexNoise", "ValToRGB"))
    noise.inputs["Scale"].default_value, noise.inputs["Detail"].default_value = scale, detail
    noise.inputs["Roughness"].default_value = .62
    set_ramp(ramp.color_ramp, np.linspace(.34, .66, len(colours)), colours)
    shader = tree.nodes["Principled BSDF"]
    shader.inputs["Roughness"].default_value = 1
    tree.links.new(coordinates.outputs["Position"], noise.inputs["Vector"])
    tree.links.new(noise.outputs[0], ramp.inputs[0])
    tree.links.new(ramp.outputs[0], shader.inputs["Base Color"])
    return material


def set_ramp(ramp, positions, colours):
    """Fills a new colour ramp."""
    for position, colour in zip(positions[1:-1], colours[1:-1], strict=True):
        ramp.elements.new(position).color = (*colour, 1)
    for end in (0, -1):
        ramp.elements[end].position, ramp.elements[end].color = positions[end], (*colours[end], 1)


def mesh_object(name, vertices, faces, material, smooth=True):
    mesh = bpy.data.meshes.new(name)
    mesh.from_pydata(vertices.tolist(), [], faces.tolist())
    if smooth:
        mesh.shade_smooth()
    mesh.materials.append(material)
    return bpy.data.objects.new(name, mesh)


def height(x, y, seed):
    """Height of the ground: flat where the animal walks, low hills beyond."""
    far = np.clip((np.hypot(x, y) - 12) / 40, 0, 1)
    return far**1.5 * (.5 + 6 * animal.noise(np.stack([x, y, 0 * x], -1), .05, 3, seed + 20))


def ground(seed, half=90, steps=180):
    x, y = np.meshgrid(np.linspace(-half, half, steps), np.linspace(-half, half, steps), indexing="ij")
    vertices = np.stack([x, y, height(x, y, seed)], -1).reshape(-1, 3)
    i = np.arange(steps * steps).reshape(steps, steps)
    faces = np.stack([i[:-1, :-1], i[1:, :-1], i[1:, 1:], i[:-1, 1:]], -1).reshape(-1, 4)
    return mesh_object("ground", vertices, faces, mottled("soil", SOIL, 1.1, 10))


def grass(rng, tufts=9000, blades=6):
    """Tufts along the path, thinner with distance, as one mesh of triangles."""
    x = rng.uniform(-7, 9, tufts)
    y = rng.choice([-1, 1], tufts) * (CORRIDOR + rng.gamma(1.6, 1.6, tufts))
    root = np.repeat(np.stack([x, y, 0 * x], 1), blades, 0) + np.c_[rng.normal(0, .02, (tufts * blades, 2)),
                                                                    np.zeros(tufts * blades)]
    lean = np.c_[rng.normal(0, .025, (tufts * blades, 2)), np.repeat(rng.uniform(.02, .055, tufts), blades)]
    angle = rng.uniform(0, np.pi, tufts * blades)
    across = .004 * np.stack([np.cos(angle), np.sin(angle), 0 * angle], 1)
    vertices = np.stack([root - across, root + across, root + lean], 1).reshape(-1, 3)
    faces = np.arange(len(vertices)).reshape(-1, 3)
    return mesh_object("grass", vertices, faces, mottled("grass", GRASS, 1.4), smooth=False)


def scattered(material, rng, count, kinds, smallest, largest):
    """Lumps of random shape, strewn over the meadow."""
    bpy.ops.mesh.primitive_ico_sphere_add(subdivisions=5)
    ball = bpy.context.object
    sphere = np.array([v.co for v in ball.data.vertices])
    faces = np.array([p.vertices for p in ball.data.polygons])
    bpy.data.objects.remove(ball)
    meshes = []
    for _ in range(kinds):
        lump = animal.noise(sphere, 2.2, 5, int(rng.integers(1 << 30)))
        meshes.append(mesh_object(material.name, sphere * (.45 + .9 * lump[:, None]), faces, material).data)
    objects = []
    for number in range(count):
        obj = bpy.data.objects.new(material.name, meshes[number % kinds])
        angle, distance = rng.uniform(0, 2 * np.pi), CAMERA_ROOM + rng.gamma(1.5, 6)
        size = rng.uniform(smallest, largest) * (1 + distance / 40)
        x, y = distance * np.cos(angle), distance * np.sin(angle)
        obj.location = (x, y, .25 * size)
        obj.rotation_euler = (0, 0, rng.uniform(0, 6.3))
        obj.scale = (size, size, .8 * size)
        objects.append(obj)
    return objects


def sun():
    lamp = bpy.data.objects.new("sun", bpy.data.lights.new("sun", "SUN"))
    lamp.data.energy, lamp.data.angle, lamp.data.color = 3.2, .12, (1, .93, .80)
    lamp.rotation_euler = (-.75, .35, 0)
    return lamp


def sky():
    """Blue with clouds, mottled by direction."""
    world = bpy.data.worlds.new("sky")
    world.use_nodes = True
    tree = world.node_tree
    coordinates, noise, ramp = (tree.nodes.new(f"ShaderNode{kind}") for kind in ("TexCoord", "TexNoise", "ValToRGB"))
    noise.inputs["Scale"].default_value, noise.inputs["Detail"].default_value = 5, 6
    set_ramp(ramp.color_ramp, (.42, .62), ((.20, .38, .70), (.85, .88, .92)))
    tree.links.new(coordinates.outputs["Generated"], noise.inputs["Vector"])
    tree.links.new(noise.outputs[0], ramp.inputs[0])
    tree.links.new(ramp.outputs[0], tree.nodes["Background"].inputs["Color"])
    tree.nodes["Background"].inputs["Strength"].default_value = .8
    return world
