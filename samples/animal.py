"""The sample's animal, a painted dog: its shape from blended lofts, its coat as a function of the position on the body.

Everything is in metres in the animal's own space: x forward, y to its left, z up, the ground at z = 0.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Loft:
    """A limb or a trunk: elliptical sections along a smooth line.

    sections  rows of x, y, z of the centre, half the extent along `side`, half the extent across it
    blend     length over which the part melts into what is there already
    carve     takes away instead of adding
    """

    sections: list
    blend: float
    side: tuple = (0.0, 1.0, 0.0)
    mirrored: bool = False
    carve: bool = False


TORSO = Loft([(-.47, 0, .640, .058, .070), (-.40, 0, .625, .094, .108), (-.28, 0, .622, .103, .115),
              (-.14, 0, .612, .098, .116), (.00, 0, .588, .112, .140), (.14, 0, .565, .124, .163),
              (.26, 0, .565, .120, .160), (.36, 0, .588, .094, .122), (.42, 0, .610, .060, .082)], .0)
NECK = Loft([(.24, 0, .620, .080, .120), (.35, 0, .695, .078, .114), (.43, 0, .780, .070, .098),
             (.495, 0, .860, .066, .084)], .08)
SKULL = Loft([(.488, 0, .893, .070, .074), (.560, 0, .905, .088, .078), (.622, 0, .893, .073, .067),
              (.668, 0, .871, .055, .054), (.725, 0, .856, .045, .043), (.770, 0, .850, .038, .036)], .035)
JAW = Loft([(.560, 0, .845, .064, .036), (.640, 0, .827, .050, .029), (.728, 0, .817, .036, .020)], .022)
NOSE = Loft([(.784, 0, .869, .023, .016), (.795, 0, .864, .021, .014)], .012)
BROW = Loft([(.612, .040, .927, .018, .014), (.648, .043, .911, .015, .012)], .020, mirrored=True)
EAR = Loft([(.508, .050, .940, .020, .034), (.500, .080, .990, .017, .056), (.494, .104, 1.040, .016, .066),
            (.491, .118, 1.078, .015, .050)], .020, side=(.85, .45, -.20), mirrored=True)
EAR_HOLLOW = Loft([(.530, .082, .985, .012, .028), (.522, .114, 1.040, .013, .048), (.519, .126, 1.070, .011, .034)],
                  .012, side=(.85, .45, -.20), mirrored=True, carve=True)
TAIL = Loft([(-.46, 0, .675, .036, .038), (-.53, 0, .625, .030, .032), (-.590, 0, .530, .037, .039),
             (-.628, 0, .420, .048, .050), (-.650, 0, .320, .043, .046), (-.662, 0, .235, .015, .016)], .03)
THIGH = Loft([(-.385, .070, .625, .048, .097), (-.345, .088, .545, .055, .110), (-.315, .098, .460, .046, .080),
              (-.300, .102, .400, .036, .054)], .05, mirrored=True)
SHANK = Loft([(-.285, .100, .435, .036, .052), (-.345, .102, .350, .034, .050), (-.415, .102, .275, .026, .032),
              (-.462, .102, .228, .023, .027)], .025, mirrored=True)
HOCK = Loft([(-.478, .102, .242, .018, .018), (-.455, .102, .195, .022, .027), (-.440, .102, .120, .021, .024),
             (-.425, .102, .050, .024, .026)], .03, mirrored=True)
HIND_PAW = Loft([(-.428, .102, .030, .028, .025), (-.385, .102, .028, .033, .025), (-.345, .102, .019, .027, .016)],
                .018, mirrored=True)
SHOULDER = Loft([(.205, .062, .690, .030, .050), (.260, .084, .600, .044, .075), (.315, .096, .510, .042, .066)],
                .05, mirrored=True)
UPPER_ARM = Loft([(.320, .096, .505, .044, .064), (.262, .102, .455, .042, .068), (.203, .105, .410, .037, .049)],
                 .045, mirrored=True)
FOREARM = Loft([(.203, .104, .412, .036, .046), (.222, .104, .330, .033, .040), (.244, .104, .230, .026, .029),
                (.250, .104, .160, .024, .027)], .025, mirrored=True)
PASTERN = Loft([(.250, .104, .165, .024, .026), (.256, .104, .100, .022, .023), (.265, .104, .050, .025, .026)],
               .02, mirrored=True)
FORE_PAW = Loft([(.258, .104, .030, .029, .026), (.300, .104, .028, .035, .025), (.338, .104, .019, .029, .016)],
                .018, mirrored=True)
PARTS = [TORSO, NECK, SHOULDER, UPPER_ARM, THIGH, SHANK, FOREARM, HOCK, PASTERN, HIND_PAW, FORE_PAW, SKULL, JAW, BROW,
         NOSE, EAR, EAR_HOLLOW, TAIL]


def smooth_line(sections, per_span=6):
    """Catmull-Rom curve through the rows of `sections` (N, 5), as (M, 5)."""
    rows = np.asarray(sections, float)
    padded = np.vstack([2 * rows[0] - rows[1], rows, 2 * rows[-1] - rows[-2]])
    t = np.linspace(0, 1, per_span, endpoint=False)[:, None]
    spans = [0.5 * (2 * b + (c - a) * t + (2 * a - 5 * b + 4 * c - d) * t**2 + (3 * b - a - 3 * c + d) * t**3)
             for a, b, c, d in zip(padded, padded[1:], padded[2:], padded[3:], strict=False)]
    return np.vstack([*spans, rows[-1:]])


def loft_distance(points, line, side):
    """Distance of points (..., 3) to the skin of one loft, negative inside; exact to first order near the skin."""
    side = np.asarray(side) / np.linalg.norm(side)
    best = np.full(points.shape[:-1], np.inf)
    for a, b in zip(line, line[1:], strict=False):
        axis = b[:3] - a[:3]
        t = np.clip((points - a[:3]) @ axis / (axis @ axis), 0, 1)
        offset = points - a[:3] - t[..., None] * axis
        width, depth = a[3] + t * (b[3] - a[3]), a[4] + t * (b[4] - a[4])
        along = offset @ side
        across = np.sqrt(np.maximum((offset**2).sum(-1) - along**2, 0))
        scaled = np.hypot(along / width, across / depth)
        slope = np.hypot(along / width**2, across / depth**2)
        np.minimum(best, scaled * (scaled - 1) / np.maximum(slope, 1e-9), out=best)
    return best


def distance_field(voxel):
    """Signed distance of the whole animal on a grid: (field (X, Y, Z), position of its first corner (3,))."""
    first, last = np.array([-.74, -.24, -.04]), np.array([.90, .24, 1.18])
    axes = [np.arange(lo, hi, voxel) for lo, hi in zip(first, last, strict=True)]
    field = np.full([len(a) for a in axes], 0.1)
    for part in PARTS:
        for mirror in ([1, -1] if part.mirrored else [1]):
            line = smooth_line(part.sections) * [1, mirror, 1, 1, 1]
            reach = line[:, 3:].max() + part.blend + 2 * voxel
            box = tuple(slice(*np.searchsorted(axis, [line[:, k].min() - reach, line[:, k].max() + reach]))
                        for k, axis in enumerate(axes))
            points = np.stack(np.meshgrid(*(axis[s] for axis, s in zip(axes, box, strict=True)), indexing="ij"), -1)
            skin = loft_distance(points, line, np.multiply(part.side, [1, mirror, 1]))
            sign = -1 if part.carve else 1
            there = sign * field[box]
            mix = np.maximum(part.blend - np.abs(there - skin), 0)
            field[box] = sign * (np.minimum(there, skin) - mix**2 / max(4 * part.blend, 1e-9))
    return field, first


def surface_net(field, first, voxel):
    """Closed quad mesh of the field's zero level, by naive surface nets.

    Returns vertices (V, 3) in metres and faces (F, 4), counter-clockwise seen from outside.
    """
    inside = field < 0
    shape = np.array(field.shape) - 1
    total, count = np.zeros((*shape, 3)), np.zeros(shape)
    for axis in range(3):
        a, b = (np.moveaxis(field, axis, 0)[s] for s in (slice(None, -1), slice(1, None)))
        cross = (a < 0) != (b < 0)
        where = np.where(cross, a / np.where(cross, a - b, 1), 0)
        for corner in np.ndindex(2, 2):
            cut = tuple(slice(c, c + n) for c, n in zip(corner, np.delete(shape, axis), strict=True))
            hit, position = (np.moveaxis(x[(slice(None), *cut)], 0, axis) for x in (cross, where))
            offset = np.insert(np.array(corner, float), axis, 0)
            total += hit[..., None] * offset
            total[..., axis] += position
            count += hit
    cells = np.argwhere(count > 0)
    number = np.full(shape, -1)
    number[tuple(cells.T)] = np.arange(len(cells))
    vertices = first + voxel * (cells + total[count > 0] / count[count > 0][:, None])
    faces = []
    for axis in range(3):
        u, v = np.roll(np.eye(3, dtype=int), -axis, axis=0)[1:]
        step = np.eye(3, dtype=int)[axis]
        edges = np.argwhere(inside & ~np.roll(inside, -1, axis) | ~inside & np.roll(inside, -1, axis))
        ring = np.stack([number[tuple((edges - d).T)] for d in (u + v, v, 0 * step, u)], 1)
        outward = inside[tuple(edges.T)]
        faces.append(np.where(outward[:, None], ring, ring[:, ::-1]))
    return vertices, np.vstack(faces)


def noise(points, scale, octaves, seed):
    """Smooth random value, 0…1, of each point (..., 3): octaves of lattice noise from `scale` cells a metre."""
    lattice = np.random.default_rng(seed).random((32, 32, 32))
    value, weight = 0.0, 0.0
    for octave in range(octaves):
        q = np.asarray(points) * np.asarray(scale) * 2**octave + 7.3 * octave
        cell = np.floor(q).astype(int)
        t = q - cell
        t = t * t * (3 - 2 * t)
        for corner in np.ndindex(2, 2, 2):
            weight_of_corner = np.prod(np.where(corner, t, 1 - t), -1)
            value = value + weight_of_corner * lattice[tuple(((cell + corner) % 32).T)].T / 2**octave
        weight += 0.5**octave
    return value / weight


def edge(value, at, softness):
    """0 below `at`, 1 above it, soft in between."""
    t = np.clip((value - at) / softness + 0.5, 0, 1)
    return t * t * (3 - 2 * t)


OCHRE, BLACK, WHITE, TAN = (np.array(c) for c in ((.72, .46, .20), (.12, .10, .09), (.93, .89, .80), (.84, .65, .40)))


def coat(points, seed):
    """Colour (N, 3), sRGB 0…1, of positions (N, 3) on the body: ochre under black and white patches."""
    x, y, z = points.T
    wobble = points + 0.06 * np.stack([noise(points, 9, 2, seed + k) - .5 for k in (1, 2, 3)], -1)
    hair = noise(points, (70, 170, 100), 3, seed + 4) - .5
    colour = np.tile(OCHRE, (len(points), 1))

    def paint(with_colour, amount):
        colour[:] = colour + (with_colour - colour) * np.clip(amount, 0, 1)[:, None]

    body = edge(.52 - x, .0, .05)
    paint(TAN, edge(.50 - z + .1 * hair, .0, .10) * body)
    patches = noise(wobble, (6.5, 5.0, 6.5), 2, seed + 5) + .10 * hair
    paint(BLACK, edge(patches, .50, .035) * body)
    flecks = noise(wobble, (9.0, 7.0, 8.0), 2, seed + 6) + .10 * hair
    paint(WHITE, edge(flecks, .60, .03) * body)
    paint(WHITE, edge(noise(wobble, 11, 2, seed + 7), .50, .04) * edge(.33 - z, 0, .05) * body)
    paint_tail(paint, points, hair)
    paint_head(paint, points, hair)
    return np.clip(colour * (1 + .55 * hair[:, None]), 0.02, 1)


def paint_tail(paint, points, hair):
    """Ochre root, black ring, white brush."""
    along = edge(-.50 - points[:, 0], 0, .02)
    height = points[:, 2] + .06 * hair
    paint(OCHRE, along)
    paint(BLACK, along * edge(.545 - height, 0, .02))
    paint(WHITE, along * edge(.440 - height, 0, .02))


def paint_head(paint, points, hair):
    """Tan face, black muzzle, throat and brow line, dark ears with pale insides, eyes and nose."""
    x, y, z = points.T
    side = np.abs(y)
    head = edge(x - .51 + .6 * (z - .85), 0, .06)
    paint(TAN, head)
    paint(BLACK * [1.9, 1.7, 1.6], edge(x - .685 + .25 * (z - .86) + .04 * hair, 0, .02))
    paint(BLACK, head * edge(.012 + .15 * np.maximum(x - .6, 0) - side + .01 * hair, 0, .006) * edge(z - .90, 0, .02))
    paint(BLACK, edge(.835 - z + .20 * (x - .56) + .08 * hair, 0, .02) * edge(x - .45, 0, .05))
    paint(BLACK, edge(z - .965 + .02 * hair, 0, .015) * edge(side - .05, 0, .02))
    normal = np.array(EAR.side) / np.linalg.norm(EAR.side)
    before = np.stack([x, side, z], -1) - EAR.sections[2][:3]
    depth = before @ normal
    in_plane = np.linalg.norm(before - depth[:, None] * normal, axis=1)
    paint(TAN * .85, edge(depth, .0, .006) * edge(.055 - in_plane + .03 * hair, 0, .010))
    from_eye = np.stack([x - .642, side - .060, (z - .893) * 1.4 - .5 * (x - .642)], -1)
    eye = np.linalg.norm(from_eye, axis=1)
    paint(BLACK, edge(.022 - eye, 0, .010))
    paint(np.array([.45, .24, .08]), edge(.012 - eye, 0, .004))
    paint(BLACK * .3, edge(.008 - eye, 0, .003))
    paint(WHITE, edge(.0035 - np.linalg.norm(from_eye - [.003, 0, .006], axis=1), 0, .002))
    nose = edge(x - .783, 0, .006) * edge(z - .850, 0, .006)
    mouth = edge(x - .66, 0, .02) * edge(.004 - np.abs(z - .828 - .05 * (x - .72)), 0, .003)
    paint(BLACK * .4, np.maximum(nose, mouth))


def triangle_atlas(count, cell=16):
    """A texture layout for any `count` triangles, in which every two share a square of `cell` pixels.

    Returns uv (count, 3, 2), v up, and for each pixel of the square texture, first row at v = 0, its triangle (S, S)
    and its barycentric weights there (S, S, 3).
    """
    columns = int(np.ceil(np.sqrt((count + 1) // 2)))
    size = columns * cell
    number = np.arange(count)
    square = np.stack([number // 2 % columns, number // 2 // columns], 1) * cell
    # Both triangles keep a pixel and a half from the square's diagonal, so that neither shows the other's colour.
    lower = np.array([[1, 1], [cell - 3, 1], [1, cell - 3]])
    uv = (square[:, None] + np.where((number % 2)[:, None, None] == 0, lower, cell - lower)) / size

    column, row = np.meshgrid(np.arange(size), np.arange(size))
    x, y = column % cell + .5, row % cell + .5
    is_upper = x + y > cell
    triangle = np.minimum((row // cell * columns + column // cell) * 2 + is_upper, count - 1)
    second, third = (np.where(is_upper, cell - 1 - at, at - 1) / (cell - 4) for at in (x, y))
    return uv, triangle, np.stack([1 - second - third, second, third], -1)


def proportions(seed):
    """A change of proportions, points (N, 3) to points (N, 3), drawn from the seed; seed 0 leaves them as modelled."""
    legs, girth, muzzle, ears = 1 + np.random.default_rng(seed).uniform(-.12, .12, 4) * (seed > 0)

    def stretched(points):
        x, y, z = np.asarray(points, float).T
        x = np.minimum(x, .66) + muzzle * np.maximum(x - .66, 0)
        z = legs * np.minimum(z, .45) + np.clip(z - .45, 0, .51) + ears * np.maximum(z - .96, 0)
        return np.stack([x, girth * y, z], 1)

    return stretched
