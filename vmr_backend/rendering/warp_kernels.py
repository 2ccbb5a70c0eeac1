"""Warp kernels of the renderer: every thread draws one face of one image, or gathers its gradient.

All kernels begin with the mesh and the first image of this launch. Those of silhouettes draw eight neighbouring pixels
of a row at once, in the lanes of a vector, which compilers turn into SIMD instructions; so their images are arrays of
Lanes, (N, H, ceil(W / 8)). Conditions on lanes are numbers, true where positive.
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
    """Gradients of x and y of a face's corners, each lane a part of the sum."""

    ax: Lanes
    ay: Lanes
    bx: Lanes
    by: Lanes
    cx: Lanes
    cy: Lanes


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
    wp.atomic_add(gradients, n, faces[f, 0], wp.vec3(total(s.ax), total(s.ay), 0.0))
    wp.atomic_add(gradients, n, faces[f, 1], wp.vec3(total(s.bx), total(s.by), 0.0))
    wp.atomic_add(gradients, n, faces[f, 2], wp.vec3(total(s.cx), total(s.cy), 0.0))


@wp.kernel
def silhouette_forward(
    points: wp.array2d(dtype=wp.vec3),
    faces: wp.array2d(dtype=int),
    first_image: int,
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
