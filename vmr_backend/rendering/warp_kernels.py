"""Warp kernels of the renderer: every thread draws one face of one image, or gathers its gradient.

All kernels begin with the mesh, the first image of this launch and the number of the launch in the batch. Soft kernels
draw eight neighbouring pixels of a row at once, in the lanes of a vector, which compilers turn into SIMD instructions;
so their images are arrays of Lanes, (N, H, ceil(W / 8)). Conditions on lanes are numbers, true where positive.
"""

import os
import sys

import torch
import warp as wp

from .interface import MIN_AREA, NEAR


def _start_warp() -> None:
    """Starts Warp silently.

    It would report on standard output, where our own progress goes, and its native code would warn on standard error
    that there is no CUDA driver; that is no news where PyTorch finds none either.
    """
    wp.config.log_level = wp.LOG_ERROR
    if torch.cuda.is_available():
        wp.init()
        return
    sys.stderr.flush()
    errors = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        wp.init()
    finally:
        os.dup2(errors, 2)
        os.close(errors)
        os.close(nowhere)


_start_warp()

CPU_FLAGS = (
    "-march=native -mllvm=-inline-threshold=9000 -mllvm=-inline-cold-callsite-threshold=3000"
    " -mllvm=-slp-recursion-max-depth=12 -ffp-contract=fast"
)
"""Warp's own, but for LLVM's deeper search for SIMD code and fused multiply-add: together a third faster here."""

# All gradients are written by hand below.
wp.set_module_options({"enable_backward": False, "cpu_compiler_flags": CPU_FLAGS})

LANES = 8
Lanes = wp.types.vector(length=LANES, dtype=wp.float32)

mul = wp.cw_mul
div = wp.cw_div

OPAQUE = wp.constant(-17.0)
"""log(1 - alpha) below which alpha is 1 in float32, so that no further face changes it."""

HIDDEN = wp.constant(20.0)
"""How much the logarithm of a face's depth weight may fall short of the nearest face's before it is left out of the
pixel. Even where the nearest covers as little as COVERAGE_CUTOFF, that changes the colour by no more than 2e-5."""


@wp.func
def where(condition: Lanes, yes: Lanes, no: Lanes):
    chosen = Lanes()
    for k in range(LANES):
        chosen[k] = wp.where(condition[k] > 0.0, yes[k], no[k])
    return chosen


@wp.func
def lower(u: Lanes, v: Lanes):
    """The lesser of both. (wp.min treats NaN with care, which takes three times as long.)"""
    least = Lanes()
    for k in range(LANES):
        least[k] = wp.where(u[k] < v[k], u[k], v[k])
    return least


@wp.func
def upper(u: Lanes, v: Lanes):
    greatest = Lanes()
    for k in range(LANES):
        greatest[k] = wp.where(u[k] > v[k], u[k], v[k])
    return greatest


@wp.func
def greatest(v: Lanes):
    left = wp.max(wp.max(v[0], v[1]), wp.max(v[2], v[3]))
    return wp.max(left, wp.max(wp.max(v[4], v[5]), wp.max(v[6], v[7])))


@wp.func
def total(v: Lanes):
    return ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]))


@wp.func
def exp_of_minus(y: Lanes):
    """exp(-y) for y >= 0, within a part of 3e-5 where it is above 1e-4: (exp(-y / 32))^32, by Taylor's series."""
    z = lower(y, Lanes(20.0)) * (-1.0 / 32.0)
    e = z * (1.0 / 120.0) + Lanes(1.0 / 24.0)
    e = mul(e, z) + Lanes(1.0 / 6.0)
    e = mul(e, z) + Lanes(0.5)
    e = mul(e, z) + Lanes(1.0)
    e = mul(e, z) + Lanes(1.0)
    e = mul(e, e)
    e = mul(e, e)
    e = mul(e, e)
    e = mul(e, e)
    return mul(e, e)


@wp.func
def log_of_one_plus(e: Lanes):
    """log(1 + e) for e in [0, 1], within 3e-8 (Abramowitz & Stegun 4.1.44)."""
    s = e * -0.0064535442 + Lanes(0.0360884937)
    s = mul(s, e) + Lanes(-0.0953293897)
    s = mul(s, e) + Lanes(0.1676540711)
    s = mul(s, e) + Lanes(-0.2407338084)
    s = mul(s, e) + Lanes(0.3317990258)
    s = mul(s, e) + Lanes(-0.4998741238)
    s = mul(s, e) + Lanes(0.9999964239)
    return mul(s, e)


@wp.struct
class Triangle:
    """A face on the screen: corners, 1 / squared length of the edge that starts at each, and orientation (+1, -1)."""

    a: wp.vec2
    b: wp.vec2
    c: wp.vec2
    inverse: wp.vec3
    turn: float


@wp.func
def xy(p: wp.vec3):
    return wp.vec2(p[0], p[1])


@wp.func
def cross(u: wp.vec2, v: wp.vec2):
    return u[0] * v[1] - u[1] * v[0]


@wp.func
def is_drawn(a: wp.vec3, b: wp.vec3, c: wp.vec3):
    """Whether the face is in front of the camera and has an area. False for NaN as well."""
    area = cross(xy(b) - xy(a), xy(c) - xy(a))
    return a[2] > NEAR and b[2] > NEAR and c[2] > NEAR and wp.abs(area) > MIN_AREA and wp.isfinite(area)


@wp.func
def inverse_length(edge: wp.vec2):
    return 1.0 / wp.max(wp.dot(edge, edge), 1.0e-30)


@wp.func
def triangle(pa: wp.vec3, pb: wp.vec3, pc: wp.vec3):
    t = Triangle()
    t.a = xy(pa)
    t.b = xy(pb)
    t.c = xy(pc)
    t.inverse = wp.vec3(inverse_length(t.b - t.a), inverse_length(t.c - t.b), inverse_length(t.a - t.c))
    t.turn = wp.sign(cross(t.b - t.a, t.c - t.a))
    return t


@wp.func
def first_pixel(x: float, size: int):
    """Index of the first pixel whose centre is at ndc x or beyond."""
    return int(wp.ceil(wp.clamp((x + 1.0) * 0.5 * float(size) - 0.5, 0.0, float(size))))


@wp.func
def pixel_centre(i: int, size: int):
    return float(2 * i + 1) / float(size) - 1.0


@wp.struct
class Box:
    """The pixels near a face: rows [top, bottom), columns [left, right)."""

    top: int
    bottom: int
    left: int
    right: int


@wp.func
def box_around(t: Triangle, margin: float, height: int, width: int):
    """Pixels in the face's bounding box grown by margin (ndc)."""
    box = Box()
    box.left = first_pixel(wp.min(t.a[0], wp.min(t.b[0], t.c[0])) - margin, width)
    box.right = first_pixel(wp.max(t.a[0], wp.max(t.b[0], t.c[0])) + margin, width)
    box.top = first_pixel(wp.min(t.a[1], wp.min(t.b[1], t.c[1])) - margin, height)
    box.bottom = first_pixel(wp.max(t.a[1], wp.max(t.b[1], t.c[1])) + margin, height)
    return box


@wp.func
def blocks_around(t: Triangle, margin: float, height: int, width: int):
    """The same with columns in blocks of LANES. (Cutting rows along the edges takes more time than it saves.)"""
    box = box_around(t, margin, height, width)
    box.left = box.left / LANES
    box.right = (box.right + LANES - 1) / LANES
    return box


@wp.struct
class Pixels:
    """Centres of neighbouring pixels."""

    x: Lanes
    y: Lanes


@wp.func
def pixels(row: int, block: int, height: int, width: int):
    step = 2.0 / float(width)
    p = Pixels()
    first = pixel_centre(block * LANES, width)
    for k in range(LANES):
        p.x[k] = first + float(k) * step
    p.y = Lanes(pixel_centre(row, height))
    return p


@wp.struct
class Foot:
    """The point of an edge nearest to each pixel.

    along     where on the edge it lies, 0 at its start and 1 at its end
    x, y      from it to the pixel
    distance  squared
    """

    along: Lanes
    x: Lanes
    y: Lanes
    distance: Lanes


@wp.func
def foot_on_edge(p: Pixels, start: wp.vec2, end: wp.vec2, inverse: float):
    edge = end - start
    foot = Foot()
    x = p.x - Lanes(start[0])
    y = p.y - Lanes(start[1])
    foot.along = lower(upper(x * (edge[0] * inverse) + y * (edge[1] * inverse), Lanes(0.0)), Lanes(1.0))
    foot.x = x - foot.along * edge[0]
    foot.y = y - foot.along * edge[1]
    foot.distance = mul(foot.x, foot.x) + mul(foot.y, foot.y)
    return foot


@wp.struct
class Outline:
    """The point of a face's outline nearest to each pixel: as a Foot, with its barycentric weights a, b, c."""

    distance: Lanes
    x: Lanes
    y: Lanes
    a: Lanes
    b: Lanes
    c: Lanes


@wp.func
def nearest_on_outline(p: Pixels, t: Triangle):
    ab = foot_on_edge(p, t.a, t.b, t.inverse[0])
    bc = foot_on_edge(p, t.b, t.c, t.inverse[1])
    ca = foot_on_edge(p, t.c, t.a, t.inverse[2])
    none = Lanes(0.0)
    one = Lanes(1.0)
    near = Outline()
    nearer = ab.distance - bc.distance
    near.distance = where(nearer, bc.distance, ab.distance)
    near.x = where(nearer, bc.x, ab.x)
    near.y = where(nearer, bc.y, ab.y)
    near.a = where(nearer, none, one - ab.along)
    near.b = where(nearer, one - bc.along, ab.along)
    near.c = where(nearer, bc.along, none)
    nearer = near.distance - ca.distance
    near.distance = where(nearer, ca.distance, near.distance)
    near.x = where(nearer, ca.x, near.x)
    near.y = where(nearer, ca.y, near.y)
    near.a = where(nearer, ca.along, near.a)
    near.b = where(nearer, none, near.b)
    near.c = where(nearer, one - ca.along, near.c)
    return near


@wp.struct
class Areas:
    """Doubled areas of the triangles of a pixel and the edge opposite a, b, c: all positive if it is inside."""

    a: Lanes
    b: Lanes
    c: Lanes


@wp.func
def area_at_edge(p: Pixels, start: wp.vec2, end: wp.vec2, turn: float):
    edge = turn * (end - start)
    return (p.y - Lanes(start[1])) * edge[0] - (p.x - Lanes(start[0])) * edge[1]


@wp.func
def corner_areas(p: Pixels, t: Triangle):
    areas = Areas()
    areas.a = area_at_edge(p, t.b, t.c, t.turn)
    areas.b = area_at_edge(p, t.c, t.a, t.turn)
    areas.c = area_at_edge(p, t.a, t.b, t.turn)
    return areas


@wp.func
def inside_of(areas: Areas):
    return lower(areas.a, lower(areas.b, areas.c))


@wp.func
def covers(inside: Lanes, distance: Lanes, margin: float):
    """Whether the coverage is above COVERAGE_CUTOFF."""
    return upper(inside, Lanes(margin * margin) - distance)


@wp.func
def log_uncovered(inside: Lanes, y: Lanes):
    """log(1 - D), D = sigmoid(+-y): -softplus(+-y)."""
    return -log_of_one_plus(exp_of_minus(y)) - where(inside, y, Lanes(0.0))


@wp.func
def coverage(inside: Lanes, y: Lanes):
    """D = sigmoid(y) inside and sigmoid(-y) outside."""
    e = exp_of_minus(y)
    return div(where(inside, Lanes(1.0), e), e + Lanes(1.0))


@wp.struct
class Sums:
    """Gradients of x, y and z of a face's corners, each lane a part of the sum."""

    ax: Lanes
    ay: Lanes
    az: Lanes
    bx: Lanes
    by: Lanes
    bz: Lanes
    cx: Lanes
    cy: Lanes
    cz: Lanes


@wp.func
def add_distance_gradient(sums: Sums, outline: Outline, inside: Lanes, gradient: Lanes):
    """Adds the corners' gradient, from that of the signed squared distance +-|p - q|^2 to the nearest point q.

    That q may slide along the outline does not matter, since it is where the distance is least.
    """
    g = where(inside, gradient * -2.0, gradient * 2.0)
    x = mul(g, outline.x)
    y = mul(g, outline.y)
    sums.ax += mul(x, outline.a)
    sums.ay += mul(y, outline.a)
    sums.bx += mul(x, outline.b)
    sums.by += mul(y, outline.b)
    sums.cx += mul(x, outline.c)
    sums.cy += mul(y, outline.c)
    return sums


@wp.func
def add_corner_gradients(gradients: wp.array2d(dtype=wp.vec3), n: int, faces: wp.array2d(dtype=int), f: int, s: Sums):
    wp.atomic_add(gradients, n, faces[f, 0], wp.vec3(total(s.ax), total(s.ay), total(s.az)))
    wp.atomic_add(gradients, n, faces[f, 1], wp.vec3(total(s.bx), total(s.by), total(s.bz)))
    wp.atomic_add(gradients, n, faces[f, 2], wp.vec3(total(s.cx), total(s.cy), total(s.cz)))


@wp.kernel
def silhouette_forward(
    points: wp.array2d(dtype=wp.vec3),
    faces: wp.array2d(dtype=int),
    first_image: int,
    chunk: int,
    width: int,
    sigma: float,
    margin: float,
    log_background: wp.array3d(dtype=Lanes),
):
    """Adds log(1 - D) of each face to log_background, zero at the start; alpha = 1 - exp of the sum."""
    local_image, f = wp.tid()
    n = first_image + local_image
    a = points[n, faces[f, 0]]
    b = points[n, faces[f, 1]]
    c = points[n, faces[f, 2]]
    if not is_drawn(a, b, c):
        return
    height = log_background.shape[1]
    t = triangle(a, b, c)
    box = blocks_around(t, margin, height, width)
    for j in range(box.top, box.bottom):
        for k in range(box.left, box.right):
            if greatest(log_background[n, j, k]) > OPAQUE:
                p = pixels(j, k, height, width)
                inside = inside_of(corner_areas(p, t))
                distance = nearest_on_outline(p, t).distance
                log_more = where(
                    covers(inside, distance, margin), log_uncovered(inside, distance / sigma), Lanes(0.0)
                )
                wp.atomic_add(log_background, n, j, k, log_more)


@wp.kernel
def silhouette_backward(
    points: wp.array2d(dtype=wp.vec3),
    faces: wp.array2d(dtype=int),
    first_image: int,
    chunk: int,
    width: int,
    sigma: float,
    margin: float,
    sensitivity: wp.array3d(dtype=Lanes),
    point_gradients: wp.array2d(dtype=wp.vec3),
):
    """Adds the gradient of each face's corners to point_gradients (N, V, 3).

    sensitivity is dLoss/dalpha * (1 - alpha); with D = sigmoid(x) a face's dLoss/dx is sensitivity * D. Blocks
    where it is 0 are passed over.
    """
    local_image, f = wp.tid()
    n = first_image + local_image
    a = points[n, faces[f, 0]]
    b = points[n, faces[f, 1]]
    c = points[n, faces[f, 2]]
    if not is_drawn(a, b, c):
        return
    height = sensitivity.shape[1]
    t = triangle(a, b, c)
    box = blocks_around(t, margin, height, width)
    sums = Sums()
    for j in range(box.top, box.bottom):
        for k in range(box.left, box.right):
            s = sensitivity[n, j, k]
            if greatest(mul(s, s)) > 0.0:
                p = pixels(j, k, height, width)
                inside = inside_of(corner_areas(p, t))
                outline = nearest_on_outline(p, t)
                g = mul(s, coverage(inside, outline.distance / sigma)) / sigma
                g = where(covers(inside, outline.distance, margin), g, Lanes(0.0))
                sums = add_distance_gradient(sums, outline, inside, g)
    add_corner_gradients(point_gradients, n, faces, f, sums)


@wp.func
def doubled_area(p: wp.vec2, start: wp.vec2, end: wp.vec2, swapped: bool):
    """cross(end - start, p - start), computed from the same end for both faces at an edge: they then agree to the
    last bit, and no pixel falls between them."""
    first = wp.where(swapped, end, start)
    area = cross(wp.where(swapped, start, end) - first, p - first)
    return wp.where(swapped, -area, area)


@wp.func
def screen_barycentrics(p: wp.vec2, a: wp.vec3, b: wp.vec3, c: wp.vec3, i: int, j: int, k: int):
    """Barycentric weights of p on the screen, scaled by an unknown factor; i, j, k are the corners' indices."""
    return wp.vec3(
        doubled_area(p, xy(b), xy(c), j > k),
        doubled_area(p, xy(c), xy(a), k > i),
        doubled_area(p, xy(a), xy(b), i > j),
    )


@wp.func
def perspective(weights: wp.vec3, a: wp.vec3, b: wp.vec3, c: wp.vec3):
    """Barycentric weights in space from those on the screen (which may be scaled), and the depth of that point."""
    total = weights[0] + weights[1] + weights[2]
    w = wp.vec3(weights[0] / a[2], weights[1] / b[2], weights[2] / c[2]) / total
    depth = 1.0 / (w[0] + w[1] + w[2])
    return wp.vec4(w[0] * depth, w[1] * depth, w[2] * depth, depth)


@wp.kernel
def visibility_nearest(
    points: wp.array2d(dtype=wp.vec3),
    faces: wp.array2d(dtype=int),
    first_image: int,
    chunk: int,
    front: wp.array3d(dtype=wp.int64),
    nearest: wp.array3d(dtype=wp.int64),
):
    """Keeps the least (depth, face) of each pixel: in nearest (N, H, W) of all faces, in front of those that turn their
    outside to the camera.

    The depth's bits stand above the face's index, so that one atomic operation compares both; bits of positive floats
    sort as the floats do.
    """
    local_image, f = wp.tid()
    n = first_image + local_image
    i0 = faces[f, 0]
    i1 = faces[f, 1]
    i2 = faces[f, 2]
    a = points[n, i0]
    b = points[n, i1]
    c = points[n, i2]
    if not is_drawn(a, b, c):
        return
    outside = cross(xy(b) - xy(a), xy(c) - xy(a)) < 0.0  # the screen's y points down
    height = nearest.shape[1]
    width = nearest.shape[2]
    box = box_around(triangle(a, b, c), 1.0e-5, height, width)  # rounding must not lose a pixel on a corner
    for j in range(box.top, box.bottom):
        for i in range(box.left, box.right):
            p = wp.vec2(pixel_centre(i, width), pixel_centre(j, height))
            w = screen_barycentrics(p, a, b, c, i0, i1, i2)
            if wp.min(w) >= 0.0 or wp.max(w) <= 0.0:
                found = perspective(w, a, b, c)
                key = (wp.int64(wp.cast(found[3], wp.int32)) << wp.int64(32)) | wp.int64(f)
                wp.atomic_min(nearest, n, j, i, key)
                if outside:
                    wp.atomic_min(front, n, j, i, key)


@wp.kernel
def visibility_resolve(
    points: wp.array2d(dtype=wp.vec3),
    faces: wp.array2d(dtype=int),
    first_image: int,
    chunk: int,
    nearest: wp.array3d(dtype=wp.int64),
    face_index: wp.array3d(dtype=int),
    barycentrics: wp.array3d(dtype=wp.vec3),
    depth: wp.array3d(dtype=float),
):
    """Unpacks what visibility_nearest kept; one thread per row."""
    local_image, j = wp.tid()
    n = first_image + local_image
    height = nearest.shape[1]
    width = nearest.shape[2]
    for i in range(width):
        key = nearest[n, j, i]
        f = int(key & wp.int64(0x7FFFFFFF))
        if f == 0x7FFFFFFF:
            face_index[n, j, i] = -1
            barycentrics[n, j, i] = wp.vec3(0.0)
            depth[n, j, i] = 0.0
        else:
            i0 = faces[f, 0]
            i1 = faces[f, 1]
            i2 = faces[f, 2]
            a = points[n, i0]
            b = points[n, i1]
            c = points[n, i2]
            p = wp.vec2(pixel_centre(i, width), pixel_centre(j, height))
            found = perspective(screen_barycentrics(p, a, b, c, i0, i1, i2), a, b, c)
            face_index[n, j, i] = f
            barycentrics[n, j, i] = wp.vec3(found[0], found[1], found[2])
            depth[n, j, i] = found[3]


@wp.struct
class Surface:
    """Where on a face each pixel looks.

    flat_a, flat_b, flat_c  clamped barycentric weights on the screen, adding up to 1
    a, b, c                 the same in space
    inverse                 1 / depth
    area                    doubled area that the flat weights were divided by
    """

    flat_a: Lanes
    flat_b: Lanes
    flat_c: Lanes
    a: Lanes
    b: Lanes
    c: Lanes
    inverse: Lanes
    area: Lanes


@wp.func
def surface_at(areas: Areas, inverses: wp.vec3):
    """The point of a face that a pixel takes its attributes from; outside, that of the clamped barycentrics."""
    none = Lanes(0.0)
    s = Surface()
    s.flat_a = upper(areas.a, none)
    s.flat_b = upper(areas.b, none)
    s.flat_c = upper(areas.c, none)
    s.area = s.flat_a + s.flat_b + s.flat_c
    scale = div(Lanes(1.0), s.area)
    s.flat_a = mul(s.flat_a, scale)
    s.flat_b = mul(s.flat_b, scale)
    s.flat_c = mul(s.flat_c, scale)
    s.a = s.flat_a * inverses[0]
    s.b = s.flat_b * inverses[1]
    s.c = s.flat_c * inverses[2]
    s.inverse = s.a + s.b + s.c
    depth = div(Lanes(1.0), s.inverse)
    s.a = mul(s.a, depth)
    s.b = mul(s.b, depth)
    s.c = mul(s.c, depth)
    return s


@wp.func
def inverse_depths(a: wp.vec3, b: wp.vec3, c: wp.vec3):
    return wp.vec3(1.0 / a[2], 1.0 / b[2], 1.0 / c[2])


@wp.func
def scaled_depth(s: Surface, scale: wp.vec2):
    """z on the scale of interface.depth_range: greater for nearer faces."""
    return (s.inverse - Lanes(scale[0])) * scale[1]


@wp.kernel
def shading_depth(
    points: wp.array2d(dtype=wp.vec3),
    faces: wp.array2d(dtype=int),
    first_image: int,
    chunk: int,
    width: int,
    sigma: float,
    margin: float,
    depth_scale: wp.array(dtype=wp.vec2),
    log_background: wp.array3d(dtype=Lanes),
    front: wp.array3d(dtype=Lanes),
):
    """First pass of shading: as silhouette_forward, and raises front to the greatest z of any face at the pixel.

    depth_scale  (N, 2) inverse depth at z = 0, and z per inverse depth
    """
    local_image, f = wp.tid()
    n = first_image + local_image
    a = points[n, faces[f, 0]]
    b = points[n, faces[f, 1]]
    c = points[n, faces[f, 2]]
    if not is_drawn(a, b, c):
        return
    height = log_background.shape[1]
    inverses = inverse_depths(a, b, c)
    t = triangle(a, b, c)
    box = blocks_around(t, margin, height, width)
    for j in range(box.top, box.bottom):
        for k in range(box.left, box.right):
            p = pixels(j, k, height, width)
            areas = corner_areas(p, t)
            z = scaled_depth(surface_at(areas, inverses), depth_scale[n])
            if greatest(log_background[n, j, k]) > OPAQUE or greatest(z - front[n, j, k]) > 0.0:
                inside = inside_of(areas)
                distance = nearest_on_outline(p, t).distance
                covered = covers(inside, distance, margin)
                log_more = where(covered, log_uncovered(inside, distance / sigma), Lanes(0.0))
                wp.atomic_add(log_background, n, j, k, log_more)
                wp.atomic_max(front, n, j, k, where(covered, z, Lanes(0.0)))


@wp.struct
class Lookup:
    """Four texels around a place in a texture, and where between them it lies.

    slope  texels per unit of u and v, 0 where the place was clamped to the border
    """

    left: int
    right: int
    top: int
    bottom: int
    x: float
    y: float
    slope: wp.vec2


@wp.func
def look_up(u: float, v: float, height: int, width: int):
    """v is up, texel centres lie at +0.5, places beyond the outermost are clamped to them."""
    x = u * float(width) - 0.5
    y = (1.0 - v) * float(height) - 0.5
    clamped_x = wp.clamp(x, 0.0, float(width - 1))
    clamped_y = wp.clamp(y, 0.0, float(height - 1))
    at = Lookup()
    at.left = wp.min(int(clamped_x), wp.max(width - 2, 0))
    at.top = wp.min(int(clamped_y), wp.max(height - 2, 0))
    at.right = wp.min(at.left + 1, width - 1)
    at.bottom = wp.min(at.top + 1, height - 1)
    at.x = clamped_x - float(at.left)
    at.y = clamped_y - float(at.top)
    at.slope = wp.vec2(
        wp.where(x == clamped_x, float(width), 0.0), wp.where(y == clamped_y, -float(height), 0.0)
    )
    return at


@wp.func
def sample(texture: wp.array3d(dtype=wp.vec3), m: int, at: Lookup):
    upper_row = wp.lerp(texture[m, at.top, at.left], texture[m, at.top, at.right], at.x)
    lower_row = wp.lerp(texture[m, at.bottom, at.left], texture[m, at.bottom, at.right], at.x)
    return wp.lerp(upper_row, lower_row, at.y)


@wp.func
def sample_gradient(texture: wp.array3d(dtype=wp.vec3), m: int, at: Lookup, gradient: wp.vec3):
    """Gradient to (u, v), from that of the colour."""
    upper_row = texture[m, at.top, at.right] - texture[m, at.top, at.left]
    lower_row = texture[m, at.bottom, at.right] - texture[m, at.bottom, at.left]
    left = texture[m, at.bottom, at.left] - texture[m, at.top, at.left]
    right = texture[m, at.bottom, at.right] - texture[m, at.top, at.right]
    along_x = wp.dot(wp.lerp(upper_row, lower_row, at.y), gradient)
    along_y = wp.dot(wp.lerp(left, right, at.x), gradient)
    return wp.cw_mul(at.slope, wp.vec2(along_x, along_y))


@wp.func
def add_texel_gradients(gradients: wp.array3d(dtype=wp.vec3), slot: int, at: Lookup, gradient: wp.vec3):
    wp.atomic_add(gradients, slot, at.top, at.left, (1.0 - at.y) * (1.0 - at.x) * gradient)
    wp.atomic_add(gradients, slot, at.top, at.right, (1.0 - at.y) * at.x * gradient)
    wp.atomic_add(gradients, slot, at.bottom, at.left, at.y * (1.0 - at.x) * gradient)
    wp.atomic_add(gradients, slot, at.bottom, at.right, at.y * at.x * gradient)


@wp.struct
class Channels:
    """Up to four numbers at each pixel: a colour, or a place u, v in the texture."""

    x: Lanes
    y: Lanes
    z: Lanes
    w: Lanes


@wp.func
def interpolate(s: Surface, a: wp.vec4, b: wp.vec4, c: wp.vec4):
    value = Channels()
    value.x = s.a * a[0] + s.b * b[0] + s.c * c[0]
    value.y = s.a * a[1] + s.b * b[1] + s.c * c[1]
    value.z = s.a * a[2] + s.b * b[2] + s.c * c[2]
    value.w = s.a * a[3] + s.b * b[3] + s.c * c[3]
    return value


@wp.kernel
def shading_forward(
    points: wp.array2d(dtype=wp.vec3),
    faces: wp.array2d(dtype=int),
    first_image: int,
    chunk: int,
    width: int,
    sigma: float,
    margin: float,
    depth_scale: wp.array(dtype=wp.vec2),
    gamma: float,
    front: wp.array3d(dtype=Lanes),
    corners: wp.array2d(dtype=int),
    values: wp.array2d(dtype=wp.vec4),
    texture: wp.array3d(dtype=wp.vec3),
    colour: wp.array4d(dtype=Lanes),
    shares: wp.array3d(dtype=Lanes),
):
    """Second pass of shading: adds D exp((z - front) / gamma) of each face to shares, and that times the face's
    colour to colour (N, 4, H, ceil(W / 8)).

    corners  (F, 3) rows of values at the corners of each face
    values   (N or 1, K, 4): the colours if the texture is empty, else their places u, v in it
    texture  (N or 1, Ht, Wt, 3)
    """
    local_image, f = wp.tid()
    n = first_image + local_image
    a = points[n, faces[f, 0]]
    b = points[n, faces[f, 1]]
    c = points[n, faces[f, 2]]
    if not is_drawn(a, b, c):
        return
    height = shares.shape[1]
    m = wp.min(n, values.shape[0] - 1)
    value_a = values[m, corners[f, 0]]
    value_b = values[m, corners[f, 1]]
    value_c = values[m, corners[f, 2]]
    inverses = inverse_depths(a, b, c)
    t = triangle(a, b, c)
    box = blocks_around(t, margin, height, width)
    for j in range(box.top, box.bottom):
        for k in range(box.left, box.right):
            p = pixels(j, k, height, width)
            areas = corner_areas(p, t)
            s = surface_at(areas, inverses)
            behind = (front[n, j, k] - scaled_depth(s, depth_scale[n])) / gamma
            if greatest(Lanes(HIDDEN) - behind) > 0.0:
                inside = inside_of(areas)
                distance = nearest_on_outline(p, t).distance
                shown = lower(covers(inside, distance, margin), Lanes(HIDDEN) - behind)
                share = mul(coverage(inside, distance / sigma), exp_of_minus(upper(behind, Lanes(0.0))))
                share = where(shown, share, Lanes(0.0))
                value = interpolate(s, value_a, value_b, value_c)
                if texture.shape[0] > 0:
                    m = wp.min(n, texture.shape[0] - 1)
                    for i in range(wp.min(LANES, width - k * LANES)):
                        if share[i] > 0.0:
                            at = look_up(value.x[i], value.y[i], texture.shape[1], texture.shape[2])
                            sampled = sample(texture, m, at)
                            value.x[i] = sampled[0]
                            value.y[i] = sampled[1]
                            value.z[i] = sampled[2]
                wp.atomic_add(shares, n, j, k, share)
                wp.atomic_add(colour, n, 0, j, k, mul(share, value.x))
                wp.atomic_add(colour, n, 1, j, k, mul(share, value.y))
                wp.atomic_add(colour, n, 2, j, k, mul(share, value.z))
                wp.atomic_add(colour, n, 3, j, k, mul(share, value.w))


@wp.func
def dot(u: Channels, v: Channels):
    return mul(u.x, v.x) + mul(u.y, v.y) + mul(u.z, v.z) + mul(u.w, v.w)


@wp.func
def weight_gradient(gradient: Channels, value: wp.vec4):
    return gradient.x * value[0] + gradient.y * value[1] + gradient.z * value[2] + gradient.w * value[3]


@wp.func
def add_weighted(sums: Channels, gradient: Channels, weight: Lanes):
    sums.x += mul(gradient.x, weight)
    sums.y += mul(gradient.y, weight)
    sums.z += mul(gradient.z, weight)
    sums.w += mul(gradient.w, weight)
    return sums


@wp.func
def totals(sums: Channels):
    return wp.vec4(total(sums.x), total(sums.y), total(sums.z), total(sums.w))


@wp.func
def add_surface_gradient(
    sums: Sums, p: Pixels, t: Triangle, s: Surface, inverses: wp.vec3, ga: Lanes, gb: Lanes, gc: Lanes, g_inverse: Lanes
):
    """Adds the corners' gradient, from those of the surface's weights a, b, c and inverse depth."""
    # a = flat_a * inverses[0] / inverse, and inverse is the sum of these products.
    depth = div(Lanes(1.0), s.inverse)
    mean = mul(ga, s.a) + mul(gb, s.b) + mul(gc, s.c)
    ga = mul(ga - mean, depth) + g_inverse
    gb = mul(gb - mean, depth) + g_inverse
    gc = mul(gc - mean, depth) + g_inverse
    sums.az -= mul(ga, s.flat_a) * (inverses[0] * inverses[0])
    sums.bz -= mul(gb, s.flat_b) * (inverses[1] * inverses[1])
    sums.cz -= mul(gc, s.flat_c) * (inverses[2] * inverses[2])
    # flat_a = max(area opposite a, 0) / their sum.
    ga = ga * inverses[0]
    gb = gb * inverses[1]
    gc = gc * inverses[2]
    mean = mul(ga, s.flat_a) + mul(gb, s.flat_b) + mul(gc, s.flat_c)
    scale = div(Lanes(t.turn), s.area)
    none = Lanes(0.0)
    ga = where(s.flat_a, mul(ga - mean, scale), none)
    gb = where(s.flat_b, mul(gb - mean, scale), none)
    gc = where(s.flat_c, mul(gc - mean, scale), none)
    # The areas are turn * (cross(b, c), cross(c, a), cross(a, b)), seen from p.
    ax = Lanes(t.a[0]) - p.x
    ay = Lanes(t.a[1]) - p.y
    bx = Lanes(t.b[0]) - p.x
    by = Lanes(t.b[1]) - p.y
    cx = Lanes(t.c[0]) - p.x
    cy = Lanes(t.c[1]) - p.y
    sums.ax += mul(gc, by) - mul(gb, cy)
    sums.ay += mul(gb, cx) - mul(gc, bx)
    sums.bx += mul(ga, cy) - mul(gc, ay)
    sums.by += mul(gc, ax) - mul(ga, cx)
    sums.cx += mul(gb, ay) - mul(ga, by)
    sums.cy += mul(ga, bx) - mul(gb, ax)
    return sums


@wp.kernel
def shading_backward(
    points: wp.array2d(dtype=wp.vec3),
    faces: wp.array2d(dtype=int),
    first_image: int,
    chunk: int,
    width: int,
    sigma: float,
    margin: float,
    depth_scale: wp.array(dtype=wp.vec2),
    gamma: float,
    front: wp.array3d(dtype=Lanes),
    corners: wp.array2d(dtype=int),
    values: wp.array2d(dtype=wp.vec4),
    texture: wp.array3d(dtype=wp.vec3),
    colour_gradient: wp.array4d(dtype=Lanes),
    colour_level: wp.array3d(dtype=Lanes),
    sensitivity: wp.array3d(dtype=Lanes),
    point_gradients: wp.array2d(dtype=wp.vec3),
    value_gradients: wp.array2d(dtype=wp.vec4),
    texture_gradients: wp.array3d(dtype=wp.vec3),
):
    """Adds to point_gradients (N, V, 3), and to value_gradients (N, K, 4) or texture_gradients (slots, Ht, Wt, 3).

    colour_gradient  as colour: dLoss/dimage / shares
    colour_level     its dot product with the image: what a face must exceed to be worth more of the pixel
    sensitivity      as in silhouette_backward
    A texture per image has a slot per image; a shared one a slot per launch, since launches run side by side.
    """
    local_image, f = wp.tid()
    n = first_image + local_image
    a = points[n, faces[f, 0]]
    b = points[n, faces[f, 1]]
    c = points[n, faces[f, 2]]
    if not is_drawn(a, b, c):
        return
    height = sensitivity.shape[1]
    scale = depth_scale[n]
    m = wp.min(n, values.shape[0] - 1)
    value_a = values[m, corners[f, 0]]
    value_b = values[m, corners[f, 1]]
    value_c = values[m, corners[f, 2]]
    inverses = inverse_depths(a, b, c)
    t = triangle(a, b, c)
    box = blocks_around(t, margin, height, width)
    none = Lanes(0.0)
    sums = Sums()
    sum_a = Channels()
    sum_b = Channels()
    sum_c = Channels()
    for j in range(box.top, box.bottom):
        for k in range(box.left, box.right):
            gradient = Channels()
            gradient.x = colour_gradient[n, 0, j, k]
            gradient.y = colour_gradient[n, 1, j, k]
            gradient.z = colour_gradient[n, 2, j, k]
            gradient.w = colour_gradient[n, 3, j, k]
            coverage_gradient = sensitivity[n, j, k]
            p = pixels(j, k, height, width)
            areas = corner_areas(p, t)
            s = surface_at(areas, inverses)
            behind = (front[n, j, k] - scaled_depth(s, scale)) / gamma
            shaded = greatest(Lanes(HIDDEN) - behind) > 0.0 and greatest(dot(gradient, gradient)) > 0.0
            if shaded or greatest(mul(coverage_gradient, coverage_gradient)) > 0.0:
                inside = inside_of(areas)
                outline = nearest_on_outline(p, t)
                covered = covers(inside, outline.distance, margin)
                alone = coverage(inside, outline.distance / sigma)
                g_distance = mul(coverage_gradient, alone)
                if shaded:
                    shown = lower(covered, Lanes(HIDDEN) - behind)
                    share = where(shown, mul(alone, exp_of_minus(upper(behind, none))), none)
                    value = interpolate(s, value_a, value_b, value_c)
                    g_value = Channels()
                    g_value.x = mul(share, gradient.x)
                    g_value.y = mul(share, gradient.y)
                    g_value.z = mul(share, gradient.z)
                    g_value.w = mul(share, gradient.w)
                    if texture.shape[0] > 0:
                        m = wp.min(n, texture.shape[0] - 1)
                        slot = wp.where(texture.shape[0] > 1, n, chunk)
                        for i in range(wp.min(LANES, width - k * LANES)):
                            if share[i] > 0.0:
                                at = look_up(value.x[i], value.y[i], texture.shape[1], texture.shape[2])
                                sampled = sample(texture, m, at)
                                value.x[i] = sampled[0]
                                value.y[i] = sampled[1]
                                value.z[i] = sampled[2]
                                g_colour = wp.vec3(g_value.x[i], g_value.y[i], g_value.z[i])
                                add_texel_gradients(texture_gradients, slot, at, g_colour)
                                g_place = sample_gradient(texture, m, at, g_colour)
                                g_value.x[i] = g_place[0]
                                g_value.y[i] = g_place[1]
                        g_value.z = none
                    else:
                        sum_a = add_weighted(sum_a, g_value, s.a)
                        sum_b = add_weighted(sum_b, g_value, s.b)
                        sum_c = add_weighted(sum_c, g_value, s.c)
                    # The face's share of the pixel is softmax(log D + z / gamma).
                    g_share = mul(share, dot(gradient, value) - colour_level[n, j, k])
                    g_distance += mul(g_share, Lanes(1.0) - alone)
                    sums = add_surface_gradient(
                        sums,
                        p,
                        t,
                        s,
                        inverses,
                        weight_gradient(g_value, value_a),
                        weight_gradient(g_value, value_b),
                        weight_gradient(g_value, value_c),
                        g_share * (scale[1] / gamma),
                    )
                g_distance = where(covered, g_distance / sigma, none)
                sums = add_distance_gradient(sums, outline, inside, g_distance)
    add_corner_gradients(point_gradients, n, faces, f, sums)
    if texture.shape[0] == 0:
        wp.atomic_add(value_gradients, n, corners[f, 0], totals(sum_a))
        wp.atomic_add(value_gradients, n, corners[f, 1], totals(sum_b))
        wp.atomic_add(value_gradients, n, corners[f, 2], totals(sum_c))
