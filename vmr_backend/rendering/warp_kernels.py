"""Warp kernels of the renderer: every thread draws one face of one image, or gathers its gradient."""

import warp as wp

from .interface import MIN_AREA, NEAR

if hasattr(wp, "LOG_ERROR"):
    wp.config.log_level = wp.LOG_ERROR  # otherwise it reports on standard output, where our own progress goes
wp.init()
# All gradients are written by hand below.
wp.set_module_options({"enable_backward": False})

OPAQUE = wp.constant(-17.0)
"""log(1 - alpha) below which alpha is 1 in float32, so that no further face changes it."""


@wp.struct
class Triangle:
    """A face on the screen: corners, 1 / squared length of the edge that starts at each, and orientation (+1, -1)."""

    a: wp.vec2
    b: wp.vec2
    c: wp.vec2
    inverse: wp.vec3
    turn: float


@wp.struct
class Box:
    """A block of pixels: rows [top, bottom), columns [left, right)."""

    top: int
    bottom: int
    left: int
    right: int


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
    return a[2] > NEAR and b[2] > NEAR and c[2] > NEAR and wp.abs(area) > MIN_AREA


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


@wp.func
def pixels_near(a: wp.vec3, b: wp.vec3, c: wp.vec3, margin: float, height: int, width: int):
    """The pixels in the face's bounding box grown by margin (ndc)."""
    box = Box()
    box.left = first_pixel(wp.min(a[0], wp.min(b[0], c[0])) - margin, width)
    box.right = first_pixel(wp.max(a[0], wp.max(b[0], c[0])) + margin, width)
    box.top = first_pixel(wp.min(a[1], wp.min(b[1], c[1])) - margin, height)
    box.bottom = first_pixel(wp.max(a[1], wp.max(b[1], c[1])) + margin, height)
    return box


@wp.func
def along_edge(p: wp.vec2, start: wp.vec2, end: wp.vec2, inverse: float):
    """Where on the edge the point nearest to p lies, 0 at its start and 1 at its end."""
    return wp.clamp(wp.dot(p - start, end - start) * inverse, 0.0, 1.0)


@wp.func
def from_edge(p: wp.vec2, start: wp.vec2, end: wp.vec2, inverse: float):
    """From the nearest point of the edge to p."""
    return p - (start + along_edge(p, start, end, inverse) * (end - start))


@wp.func
def is_inside(p: wp.vec2, t: Triangle):
    ab = t.turn * cross(t.b - t.a, p - t.a)
    bc = t.turn * cross(t.c - t.b, p - t.b)
    ca = t.turn * cross(t.a - t.c, p - t.c)
    return wp.min(ab, wp.min(bc, ca)) > 0.0


@wp.func
def signed_distance(p: wp.vec2, t: Triangle):
    """Squared distance from p to the face's outline, positive inside, negative outside."""
    ab = from_edge(p, t.a, t.b, t.inverse[0])
    bc = from_edge(p, t.b, t.c, t.inverse[1])
    ca = from_edge(p, t.c, t.a, t.inverse[2])
    d2 = wp.min(wp.dot(ab, ab), wp.min(wp.dot(bc, bc), wp.dot(ca, ca)))
    return wp.where(is_inside(p, t), d2, -d2)


@wp.func
def log_uncovered(x: float):
    """log(1 - sigmoid(x)) = -softplus(x)."""
    return -(wp.max(x, 0.0) + wp.log(1.0 + wp.exp(-wp.abs(x))))


@wp.func
def sigmoid(x: float):
    return 1.0 / (1.0 + wp.exp(-x))


@wp.kernel
def silhouette_forward(
    points: wp.array2d(dtype=wp.vec3),
    faces: wp.array2d(dtype=int),
    first_image: int,
    sigma: float,
    margin: float,
    log_background: wp.array3d(dtype=float),
):
    """Adds log(1 - D) of each face to log_background (N, H, W), zero at the start; alpha = 1 - exp of the sum."""
    local_image, f = wp.tid()
    n = first_image + local_image
    a = points[n, faces[f, 0]]
    b = points[n, faces[f, 1]]
    c = points[n, faces[f, 2]]
    if not is_drawn(a, b, c):
        return
    height = log_background.shape[1]
    width = log_background.shape[2]
    t = triangle(a, b, c)
    box = pixels_near(a, b, c, margin, height, width)
    for j in range(box.top, box.bottom):
        y = pixel_centre(j, height)
        for i in range(box.left, box.right):
            if log_background[n, j, i] > OPAQUE:
                d = signed_distance(wp.vec2(pixel_centre(i, width), y), t)
                if d > -margin * margin:
                    wp.atomic_add(log_background, n, j, i, log_uncovered(d / sigma))


@wp.kernel
def silhouette_backward(
    points: wp.array2d(dtype=wp.vec3),
    faces: wp.array2d(dtype=int),
    first_image: int,
    sigma: float,
    margin: float,
    negligible: wp.array(dtype=float),
    sensitivity: wp.array3d(dtype=float),
    point_gradients: wp.array2d(dtype=wp.vec3),
):
    """Adds the gradient of each face's corners to point_gradients (N, V, 3).

    sensitivity (N, H, W) is dLoss/dalpha * (1 - alpha); with D = sigmoid(x) a face's part of dLoss/dx is
    sensitivity * D. Pixels where it is at most negligible (N,) are passed over.
    """
    local_image, f = wp.tid()
    n = first_image + local_image
    a = points[n, faces[f, 0]]
    b = points[n, faces[f, 1]]
    c = points[n, faces[f, 2]]
    if not is_drawn(a, b, c):
        return
    height = sensitivity.shape[1]
    width = sensitivity.shape[2]
    least = negligible[n]
    t = triangle(a, b, c)
    box = pixels_near(a, b, c, margin, height, width)
    grad_a = wp.vec2(0.0, 0.0)
    grad_b = wp.vec2(0.0, 0.0)
    grad_c = wp.vec2(0.0, 0.0)
    for j in range(box.top, box.bottom):
        y = pixel_centre(j, height)
        for i in range(box.left, box.right):
            s = sensitivity[n, j, i]
            if wp.abs(s) > least:
                p = wp.vec2(pixel_centre(i, width), y)
                ab = from_edge(p, t.a, t.b, t.inverse[0])
                bc = from_edge(p, t.b, t.c, t.inverse[1])
                ca = from_edge(p, t.c, t.a, t.inverse[2])
                d_ab = wp.dot(ab, ab)
                d_bc = wp.dot(bc, bc)
                d_ca = wp.dot(ca, ca)
                d = wp.min(d_ab, wp.min(d_bc, d_ca))
                inside = is_inside(p, t)
                if inside or d < margin * margin:
                    side = wp.where(inside, 1.0, -1.0)
                    # The nearest point q of an edge moves with its ends by (1 - u) and u; d|p - q|^2 = -2 (p - q) dq.
                    weight = -2.0 * side * s * sigmoid(side * d / sigma) / sigma
                    if d == d_ab:
                        u = along_edge(p, t.a, t.b, t.inverse[0])
                        grad_a += weight * (1.0 - u) * ab
                        grad_b += weight * u * ab
                    elif d == d_bc:
                        u = along_edge(p, t.b, t.c, t.inverse[1])
                        grad_b += weight * (1.0 - u) * bc
                        grad_c += weight * u * bc
                    else:
                        u = along_edge(p, t.c, t.a, t.inverse[2])
                        grad_c += weight * (1.0 - u) * ca
                        grad_a += weight * u * ca
    wp.atomic_add(point_gradients, n, faces[f, 0], wp.vec3(grad_a[0], grad_a[1], 0.0))
    wp.atomic_add(point_gradients, n, faces[f, 1], wp.vec3(grad_b[0], grad_b[1], 0.0))
    wp.atomic_add(point_gradients, n, faces[f, 2], wp.vec3(grad_c[0], grad_c[1], 0.0))


@wp.func
def doubled_area(p: wp.vec2, start: wp.vec2, end: wp.vec2, swapped: bool):
    """cross(end - start, p - start), computed from the same end for both faces at an edge: they then agree to the
    last bit, and no pixel falls between them."""
    return wp.where(swapped, -cross(start - end, p - end), cross(end - start, p - start))


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
    nearest: wp.array3d(dtype=wp.int64),
):
    """Keeps the least (depth, face) of each pixel in nearest (N, H, W).

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
    height = nearest.shape[1]
    width = nearest.shape[2]
    box = pixels_near(a, b, c, 1.0e-5, height, width)  # rounding must not lose a pixel on a corner
    for j in range(box.top, box.bottom):
        for i in range(box.left, box.right):
            p = wp.vec2(pixel_centre(i, width), pixel_centre(j, height))
            w = screen_barycentrics(p, a, b, c, i0, i1, i2)
            if wp.min(w) >= 0.0 or wp.max(w) <= 0.0:
                found = perspective(w, a, b, c)
                key = (wp.int64(wp.cast(found[3], wp.int32)) << wp.int64(32)) | wp.int64(f)
                wp.atomic_min(nearest, n, j, i, key)


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
