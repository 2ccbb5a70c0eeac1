"""Warp kernels of the renderer: every thread draws one face of one image, or gathers its gradient.

All kernels begin with the mesh, the first image of this launch and the number of the launch in the batch.
"""

import warp as wp

from .interface import MIN_AREA, NEAR

if hasattr(wp, "LOG_ERROR"):
    wp.config.log_level = wp.LOG_ERROR  # otherwise it reports on standard output, where our own progress goes
wp.init()
# All gradients are written by hand below.
wp.set_module_options({"enable_backward": False})

OPAQUE = wp.constant(-17.0)
"""log(1 - alpha) below which alpha is 1 in float32, so that no further face changes it."""

HIDDEN = wp.constant(-21.0)
"""Logarithm of a face's depth weight, against that of the nearest face, below which it is not mixed into the pixel.
Even where the nearest covers as little as COVERAGE_CUTOFF, that changes the colour by less than 1e-5."""


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


@wp.struct
class Outline:
    """The point of a face's outline nearest to a pixel.

    offset   from that point to the pixel
    weights  barycentric weights of the face's corners there
    """

    offset: wp.vec2
    weights: wp.vec3


@wp.func
def along_edge(p: wp.vec2, start: wp.vec2, end: wp.vec2, inverse: float):
    """Where on the edge the point nearest to p lies, 0 at its start and 1 at its end."""
    return wp.clamp(wp.dot(p - start, end - start) * inverse, 0.0, 1.0)


@wp.func
def nearest_on_outline(p: wp.vec2, t: Triangle):
    ab = along_edge(p, t.a, t.b, t.inverse[0])
    bc = along_edge(p, t.b, t.c, t.inverse[1])
    ca = along_edge(p, t.c, t.a, t.inverse[2])
    from_ab = p - t.a - ab * (t.b - t.a)
    from_bc = p - t.b - bc * (t.c - t.b)
    from_ca = p - t.c - ca * (t.a - t.c)
    outline = Outline()
    outline.offset = from_ab
    outline.weights = wp.vec3(1.0 - ab, ab, 0.0)
    if wp.dot(from_bc, from_bc) < wp.dot(outline.offset, outline.offset):
        outline.offset = from_bc
        outline.weights = wp.vec3(0.0, 1.0 - bc, bc)
    if wp.dot(from_ca, from_ca) < wp.dot(outline.offset, outline.offset):
        outline.offset = from_ca
        outline.weights = wp.vec3(ca, 0.0, 1.0 - ca)
    return outline


@wp.func
def corner_areas(p: wp.vec2, t: Triangle):
    """Doubled areas of the triangles that p makes with the edges opposite a, b, c: all positive if p is inside."""
    return t.turn * wp.vec3(cross(t.c - t.b, p - t.b), cross(t.a - t.c, p - t.c), cross(t.b - t.a, p - t.a))


@wp.func
def log_uncovered(x: float):
    """log(1 - sigmoid(x)) = -softplus(x)."""
    return -(wp.max(x, 0.0) + wp.log(1.0 + wp.exp(-wp.abs(x))))


@wp.func
def sigmoid(x: float):
    return 1.0 / (1.0 + wp.exp(-x))


@wp.func
def distance_gradient(outline: Outline, inside: bool, gradient: float):
    """Gradient of the outline's nearest point q, from that of the signed squared distance +-|p - q|^2.

    That q may slide along the outline does not matter, since it is where the distance is least.
    """
    g = wp.where(inside, -2.0, 2.0) * gradient * outline.offset
    return wp.vec3(g[0], g[1], 0.0)


@wp.func
def add_corner_gradients(
    gradients: wp.array2d(dtype=wp.vec3), n: int, i: int, j: int, k: int, a: wp.vec3, b: wp.vec3, c: wp.vec3
):
    wp.atomic_add(gradients, n, i, a)
    wp.atomic_add(gradients, n, j, b)
    wp.atomic_add(gradients, n, k, c)


@wp.kernel
def silhouette_forward(
    points: wp.array2d(dtype=wp.vec3),
    faces: wp.array2d(dtype=int),
    first_image: int,
    chunk: int,
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
                p = wp.vec2(pixel_centre(i, width), y)
                outline = nearest_on_outline(p, t)
                d = wp.dot(outline.offset, outline.offset)
                inside = wp.min(corner_areas(p, t)) > 0.0
                if inside or d < margin * margin:
                    x = wp.where(inside, d, -d) / sigma
                    wp.atomic_add(log_background, n, j, i, log_uncovered(x))


@wp.kernel
def silhouette_backward(
    points: wp.array2d(dtype=wp.vec3),
    faces: wp.array2d(dtype=int),
    first_image: int,
    chunk: int,
    sigma: float,
    margin: float,
    sensitivity: wp.array3d(dtype=float),
    point_gradients: wp.array2d(dtype=wp.vec3),
):
    """Adds the gradient of each face's corners to point_gradients (N, V, 3).

    sensitivity (N, H, W) is dLoss/dalpha * (1 - alpha); with D = sigmoid(x) a face's dLoss/dx is sensitivity * D.
    Pixels where it is 0 are passed over.
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
    t = triangle(a, b, c)
    box = pixels_near(a, b, c, margin, height, width)
    grad_a = wp.vec3()
    grad_b = wp.vec3()
    grad_c = wp.vec3()
    for j in range(box.top, box.bottom):
        y = pixel_centre(j, height)
        for i in range(box.left, box.right):
            s = sensitivity[n, j, i]
            if s != 0.0:
                p = wp.vec2(pixel_centre(i, width), y)
                outline = nearest_on_outline(p, t)
                d = wp.dot(outline.offset, outline.offset)
                inside = wp.min(corner_areas(p, t)) > 0.0
                if inside or d < margin * margin:
                    x = wp.where(inside, d, -d) / sigma
                    g = distance_gradient(outline, inside, s * sigmoid(x) / sigma)
                    grad_a += outline.weights[0] * g
                    grad_b += outline.weights[1] * g
                    grad_c += outline.weights[2] * g
    add_corner_gradients(point_gradients, n, faces[f, 0], faces[f, 1], faces[f, 2], grad_a, grad_b, grad_c)


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
    chunk: int,
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
    """Where on a face a pixel looks.

    flat      clamped barycentric weights on the screen, adding up to 1
    weights   the same in space
    inverse   1 / depth
    """

    flat: wp.vec3
    weights: wp.vec3
    inverse: float


@wp.func
def surface_at(areas: wp.vec3, inverse_depths: wp.vec3):
    """The point of a face that a pixel takes its attributes from; outside, that of the clamped barycentrics."""
    s = Surface()
    s.flat = wp.max(areas, wp.vec3())
    s.flat = s.flat / (s.flat[0] + s.flat[1] + s.flat[2])
    s.weights = wp.cw_mul(s.flat, inverse_depths)
    s.inverse = s.weights[0] + s.weights[1] + s.weights[2]
    s.weights = s.weights / s.inverse
    return s


@wp.func
def inverse_depths(a: wp.vec3, b: wp.vec3, c: wp.vec3):
    return wp.vec3(1.0 / a[2], 1.0 / b[2], 1.0 / c[2])


@wp.kernel
def shading_depth(
    points: wp.array2d(dtype=wp.vec3),
    faces: wp.array2d(dtype=int),
    first_image: int,
    chunk: int,
    sigma: float,
    margin: float,
    depth_scale: wp.array(dtype=wp.vec2),
    log_background: wp.array3d(dtype=float),
    front: wp.array3d(dtype=float),
):
    """First pass of shading: as silhouette_forward, and raises front (N, H, W) to the greatest depth z of any face that
    covers the pixel. z = (1 / depth - depth_scale[0]) * depth_scale[1] is greater for nearer faces."""
    local_image, f = wp.tid()
    n = first_image + local_image
    a = points[n, faces[f, 0]]
    b = points[n, faces[f, 1]]
    c = points[n, faces[f, 2]]
    if not is_drawn(a, b, c):
        return
    height = log_background.shape[1]
    width = log_background.shape[2]
    scale = depth_scale[n]
    inverses = inverse_depths(a, b, c)
    t = triangle(a, b, c)
    box = pixels_near(a, b, c, margin, height, width)
    for j in range(box.top, box.bottom):
        y = pixel_centre(j, height)
        for i in range(box.left, box.right):
            p = wp.vec2(pixel_centre(i, width), y)
            areas = corner_areas(p, t)
            z = (surface_at(areas, inverses).inverse - scale[0]) * scale[1]
            if z > front[n, j, i] or log_background[n, j, i] > OPAQUE:
                outline = nearest_on_outline(p, t)
                d = wp.dot(outline.offset, outline.offset)
                inside = wp.min(areas) > 0.0
                if inside or d < margin * margin:
                    x = wp.where(inside, d, -d) / sigma
                    wp.atomic_add(log_background, n, j, i, log_uncovered(x))
                    wp.atomic_max(front, n, j, i, z)


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
def look_up(value: wp.vec4, height: int, width: int):
    """v is up, texel centres lie at +0.5, places beyond the outermost are clamped to them."""
    x = value[0] * float(width) - 0.5
    y = (1.0 - value[1]) * float(height) - 0.5
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
        wp.where(x == clamped_x, float(width), 0.0),
        wp.where(y == clamped_y, -float(height), 0.0),
    )
    return at


@wp.func
def opaque(colour: wp.vec3):
    return wp.vec4(colour[0], colour[1], colour[2], 0.0)


@wp.func
def sample(texture: wp.array3d(dtype=wp.vec3), m: int, at: Lookup):
    upper = wp.lerp(texture[m, at.top, at.left], texture[m, at.top, at.right], at.x)
    lower = wp.lerp(texture[m, at.bottom, at.left], texture[m, at.bottom, at.right], at.x)
    return opaque(wp.lerp(upper, lower, at.y))


@wp.func
def sample_gradient(texture: wp.array3d(dtype=wp.vec3), m: int, at: Lookup, gradient: wp.vec4):
    """Gradient to (u, v), from that of the colour."""
    g = wp.vec3(gradient[0], gradient[1], gradient[2])
    upper = texture[m, at.top, at.right] - texture[m, at.top, at.left]
    lower = texture[m, at.bottom, at.right] - texture[m, at.bottom, at.left]
    left = texture[m, at.bottom, at.left] - texture[m, at.top, at.left]
    right = texture[m, at.bottom, at.right] - texture[m, at.top, at.right]
    du = at.slope[0] * wp.dot(wp.lerp(upper, lower, at.y), g)
    dv = at.slope[1] * wp.dot(wp.lerp(left, right, at.x), g)
    return wp.vec4(du, dv, 0.0, 0.0)


@wp.func
def add_texel_gradients(gradients: wp.array3d(dtype=wp.vec3), slot: int, at: Lookup, gradient: wp.vec4):
    g = wp.vec3(gradient[0], gradient[1], gradient[2])
    wp.atomic_add(gradients, slot, at.top, at.left, (1.0 - at.y) * (1.0 - at.x) * g)
    wp.atomic_add(gradients, slot, at.top, at.right, (1.0 - at.y) * at.x * g)
    wp.atomic_add(gradients, slot, at.bottom, at.left, at.y * (1.0 - at.x) * g)
    wp.atomic_add(gradients, slot, at.bottom, at.right, at.y * at.x * g)


@wp.kernel
def shading_forward(
    points: wp.array2d(dtype=wp.vec3),
    faces: wp.array2d(dtype=int),
    first_image: int,
    chunk: int,
    sigma: float,
    margin: float,
    depth_scale: wp.array(dtype=wp.vec2),
    gamma: float,
    front: wp.array3d(dtype=float),
    corners: wp.array2d(dtype=int),
    values: wp.array2d(dtype=wp.vec4),
    texture: wp.array3d(dtype=wp.vec3),
    colour: wp.array3d(dtype=wp.vec4),
    total: wp.array3d(dtype=float),
):
    """Second pass of shading: adds D exp((z - front) / gamma) of each face to total (N, H, W), and that times the
    face's colour to colour (N, H, W, 4).

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
    height = total.shape[1]
    width = total.shape[2]
    scale = depth_scale[n]
    m = wp.min(n, values.shape[0] - 1)
    value_a = values[m, corners[f, 0]]
    value_b = values[m, corners[f, 1]]
    value_c = values[m, corners[f, 2]]
    inverses = inverse_depths(a, b, c)
    t = triangle(a, b, c)
    box = pixels_near(a, b, c, margin, height, width)
    for j in range(box.top, box.bottom):
        y = pixel_centre(j, height)
        for i in range(box.left, box.right):
            p = wp.vec2(pixel_centre(i, width), y)
            areas = corner_areas(p, t)
            s = surface_at(areas, inverses)
            exponent = ((s.inverse - scale[0]) * scale[1] - front[n, j, i]) / gamma
            if exponent > HIDDEN:
                outline = nearest_on_outline(p, t)
                d = wp.dot(outline.offset, outline.offset)
                inside = wp.min(areas) > 0.0
                if inside or d < margin * margin:
                    share = sigmoid(wp.where(inside, d, -d) / sigma) * wp.exp(exponent)
                    value = s.weights[0] * value_a + s.weights[1] * value_b + s.weights[2] * value_c
                    if texture.shape[0] > 0:
                        value = sample(
                            texture, wp.min(n, texture.shape[0] - 1), look_up(value, texture.shape[1], texture.shape[2])
                        )
                    wp.atomic_add(colour, n, j, i, share * value)
                    wp.atomic_add(total, n, j, i, share)


@wp.func
def all_of(x: float):
    return wp.vec3(x, x, x)


@wp.func
def perpendicular(v: wp.vec2):
    """Gradient of cross(u, v) to u; that to v is perpendicular(-u)."""
    return wp.vec3(v[1], -v[0], 0.0)


@wp.struct
class CornerGradients:
    a: wp.vec3
    b: wp.vec3
    c: wp.vec3


@wp.func
def surface_gradient(
    p: wp.vec2, t: Triangle, areas: wp.vec3, s: Surface, inverses: wp.vec3, grad_weights: wp.vec3, grad_inverse: float
):
    """Gradient of the corners from that of surface_at's weights and inverse depth."""
    # weights = flat * inverses / inverse, and inverse = dot(flat, inverses).
    grad_products = (grad_weights - all_of(wp.dot(grad_weights, s.weights))) / s.inverse + all_of(grad_inverse)
    grad_flat = wp.cw_mul(grad_products, inverses)
    grad_depths = -wp.cw_mul(wp.cw_mul(grad_products, s.flat), wp.cw_mul(inverses, inverses))
    # flat = max(areas, 0) / their sum.
    positive = wp.max(areas, wp.vec3())
    scale = t.turn / (positive[0] + positive[1] + positive[2])
    grad_areas = scale * (grad_flat - all_of(wp.dot(grad_flat, s.flat)))
    bc = wp.where(areas[0] > 0.0, grad_areas[0], 0.0)
    ca = wp.where(areas[1] > 0.0, grad_areas[1], 0.0)
    ab = wp.where(areas[2] > 0.0, grad_areas[2], 0.0)
    # areas = turn * (cross(b, c), cross(c, a), cross(a, b)), seen from p.
    a = perpendicular(t.a - p)
    b = perpendicular(t.b - p)
    c = perpendicular(t.c - p)
    g = CornerGradients()
    g.a = ab * b - ca * c + wp.vec3(0.0, 0.0, grad_depths[0])
    g.b = bc * c - ab * a + wp.vec3(0.0, 0.0, grad_depths[1])
    g.c = ca * a - bc * b + wp.vec3(0.0, 0.0, grad_depths[2])
    return g


@wp.kernel
def shading_backward(
    points: wp.array2d(dtype=wp.vec3),
    faces: wp.array2d(dtype=int),
    first_image: int,
    chunk: int,
    sigma: float,
    margin: float,
    depth_scale: wp.array(dtype=wp.vec2),
    gamma: float,
    front: wp.array3d(dtype=float),
    corners: wp.array2d(dtype=int),
    values: wp.array2d(dtype=wp.vec4),
    texture: wp.array3d(dtype=wp.vec3),
    colour_gradient: wp.array3d(dtype=wp.vec4),
    colour_level: wp.array3d(dtype=float),
    sensitivity: wp.array3d(dtype=float),
    point_gradients: wp.array2d(dtype=wp.vec3),
    value_gradients: wp.array2d(dtype=wp.vec4),
    texture_gradients: wp.array3d(dtype=wp.vec3),
):
    """Adds to point_gradients (N, V, 3), and to value_gradients (N, K, 4) or texture_gradients (slots, Ht, Wt, 3).

    colour_gradient  (N, H, W, 4) dLoss/dimage / total
    colour_level     (N, H, W) its dot product with the image: what a face must exceed to be worth more of the pixel
    sensitivity      (N, H, W) as in silhouette_backward
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
    width = sensitivity.shape[2]
    scale = depth_scale[n]
    m = wp.min(n, values.shape[0] - 1)
    value_a = values[m, corners[f, 0]]
    value_b = values[m, corners[f, 1]]
    value_c = values[m, corners[f, 2]]
    inverses = inverse_depths(a, b, c)
    t = triangle(a, b, c)
    box = pixels_near(a, b, c, margin, height, width)
    grad_a = wp.vec3()
    grad_b = wp.vec3()
    grad_c = wp.vec3()
    grad_value_a = wp.vec4()
    grad_value_b = wp.vec4()
    grad_value_c = wp.vec4()
    for j in range(box.top, box.bottom):
        y = pixel_centre(j, height)
        for i in range(box.left, box.right):
            gradient = colour_gradient[n, j, i]
            coverage_gradient = sensitivity[n, j, i]
            p = wp.vec2(pixel_centre(i, width), y)
            areas = corner_areas(p, t)
            s = surface_at(areas, inverses)
            exponent = ((s.inverse - scale[0]) * scale[1] - front[n, j, i]) / gamma
            shaded = exponent > HIDDEN and wp.dot(gradient, gradient) > 0.0
            if shaded or coverage_gradient != 0.0:
                outline = nearest_on_outline(p, t)
                d = wp.dot(outline.offset, outline.offset)
                inside = wp.min(areas) > 0.0
                if inside or d < margin * margin:
                    coverage = sigmoid(wp.where(inside, d, -d) / sigma)
                    grad_distance = coverage_gradient * coverage
                    if shaded:
                        share = coverage * wp.exp(exponent)
                        grad_value = share * gradient
                        value = s.weights[0] * value_a + s.weights[1] * value_b + s.weights[2] * value_c
                        if texture.shape[0] > 0:
                            at = look_up(value, texture.shape[1], texture.shape[2])
                            k = wp.min(n, texture.shape[0] - 1)
                            slot = wp.where(texture.shape[0] > 1, n, chunk)
                            add_texel_gradients(texture_gradients, slot, at, grad_value)
                            value = sample(texture, k, at)
                            grad_value = sample_gradient(texture, k, at, grad_value)
                        else:
                            grad_value_a += s.weights[0] * grad_value
                            grad_value_b += s.weights[1] * grad_value
                            grad_value_c += s.weights[2] * grad_value
                        # The face's share of the pixel is softmax(log D + z / gamma).
                        grad_share = share * (wp.dot(gradient, value) - colour_level[n, j, i])
                        grad_distance += grad_share * (1.0 - coverage)
                        grad_weights = wp.vec3(
                            wp.dot(grad_value, value_a), wp.dot(grad_value, value_b), wp.dot(grad_value, value_c)
                        )
                        g = surface_gradient(p, t, areas, s, inverses, grad_weights, grad_share * scale[1] / gamma)
                        grad_a += g.a
                        grad_b += g.b
                        grad_c += g.c
                    g_outline = distance_gradient(outline, inside, grad_distance / sigma)
                    grad_a += outline.weights[0] * g_outline
                    grad_b += outline.weights[1] * g_outline
                    grad_c += outline.weights[2] * g_outline
    add_corner_gradients(point_gradients, n, faces[f, 0], faces[f, 1], faces[f, 2], grad_a, grad_b, grad_c)
    if texture.shape[0] == 0:
        wp.atomic_add(value_gradients, n, corners[f, 0], grad_value_a)
        wp.atomic_add(value_gradients, n, corners[f, 1], grad_value_b)
        wp.atomic_add(value_gradients, n, corners[f, 2], grad_value_c)
