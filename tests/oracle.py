"""The figures of `evaluate` once more, from their definitions, in plain NumPy and as slow as that is.

Nothing of the product is used, so that a mistake there is not made here, too. Pixels count from the top left corner,
their centres at +0.5; cameras look along +z. A result is a mapping with the arrays of `reconstruction.npz`.
"""

import math

import numpy as np


def region_similarity(predicted, true):
    """J: intersection over union of two masks (H, W) bool (DAVIS; Perazzi et al. 2016)."""
    either = (predicted | true).sum()
    return (predicted & true).sum() / either if either else 1.0


def contour_accuracy(predicted, true):
    """F: harmonic mean of precision and recall of contours, matched within 0.008 diagonals, rounded up (DAVIS)."""
    ours, theirs = boundary(predicted), boundary(true)
    if not ours.any() or not theirs.any():
        return float(ours.any() == theirs.any())
    radius = math.ceil(0.008 * math.hypot(*true.shape))
    precision = (ours & dilated(theirs, radius)).sum() / ours.sum()
    recall = (theirs & dilated(ours, radius)).sum() / theirs.sum()
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def boundary(mask):
    """(H, W) bool: pixels unlike the one to the right, below, or below to the right."""
    edge = np.zeros_like(mask)
    edge[:, :-1] |= mask[:, :-1] != mask[:, 1:]
    edge[:-1] |= mask[:-1] != mask[1:]
    edge[:-1, :-1] |= mask[:-1, :-1] != mask[1:, 1:]
    return edge


def dilated(mask, radius):
    """(H, W) bool: pixels whose distance to one of the mask is at most the radius."""
    height, width = mask.shape
    wide = np.pad(mask, radius)
    found = np.zeros_like(mask)
    for down in range(-radius, radius + 1):
        for right in range(-radius, radius + 1):
            if down**2 + right**2 <= radius**2:
                found |= wide[radius + down:radius + down + height, radius + right:radius + right + width]
    return found


def project(result, index):
    """(V, 2) pixels and (V,) depths of a result's vertices in its frame `index`."""
    in_camera = result["vertices"][index].astype(float) @ result["camera_rotation"][index].T.astype(float)
    in_camera = in_camera + result["camera_translation"][index]
    x, y, z = in_camera.T
    fx, fy, cx, cy = result["intrinsics"][index].astype(float)
    return np.stack([fx * x / z + cx, fy * y / z + cy], 1), z


def rasterise(points, depth, faces, width, height):
    """Face (H, W) that is nearest at each pixel's centre, -1 where there is none, and its barycentrics (H, W, 3)."""
    face_index, weights = np.full((height, width), -1), np.zeros((height, width, 3))
    nearest = np.full((height, width), np.inf)
    columns, rows = np.meshgrid(np.arange(width) + 0.5, np.arange(height) + 0.5)
    for number, face in enumerate(faces):
        corners = points[face]
        area = cross(corners[1] - corners[0], corners[2] - corners[0])
        if (depth[face] <= 1e-6).any() or abs(area) <= 1e-12:
            continue
        first = np.floor(np.clip(corners.min(0) - 1, 0, (width, height))).astype(int)
        last = np.ceil(np.clip(corners.max(0) + 1, 0, (width, height))).astype(int)
        part = slice(first[1], last[1]), slice(first[0], last[0])
        centres = np.stack([columns[part], rows[part]], -1)
        # The part of the face's area that lies across from each corner.
        here = np.stack([cross(corners[(k + 2) % 3] - corners[(k + 1) % 3], centres - corners[(k + 1) % 3]) / area
                         for k in range(3)], -1)
        z = here @ depth[face]
        drawn = (here >= 0).all(-1) & (z <= nearest[part])
        face_index[part][drawn], weights[part][drawn], nearest[part][drawn] = number, here[drawn], z[drawn]
    return face_index, weights


def cross(a, b):
    return a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]


def visible_faces(result, index):
    points, depth = project(result, index)
    return rasterise(points, depth, result["faces"], *map(int, result["image_size"]))


def mask_figures(result, masks):
    """J, F and J_min of the frames of a result that have a mask, from a mapping of frame numbers to (H, W) bool."""
    drawn = {int(number): visible_faces(result, index)[0] >= 0 for index, number in enumerate(result["frames"])
             if int(number) in masks}
    j = [region_similarity(mask, masks[number]) for number, mask in drawn.items()]
    f = [contour_accuracy(mask, masks[number]) for number, mask in drawn.items()]
    return {"J": np.mean(j), "F": np.mean(f), "J_min": min(j), "scored_frames": len(drawn)}


def keypoint_transfer(result, joints, areas, alpha=0.2):
    """PCK-T (BADJA; LASR): a keypoint is put on the nearest drawn pixel of one frame, and carried along with that spot
    of the surface to another, for all ordered pairs of frames in which it is visible.

    joints   {number of the frame: (K, 2) pixels and (K,) bool visible}
    areas    {number: pixels of the mask}; found is what lies within alpha * sqrt(area of the first frame)
    """
    index = {int(number): place for place, number in enumerate(result["frames"]) if int(number) in joints}
    correct = []
    for a in index:
        face, weights = visible_faces(result, index[a])
        pixels = np.argwhere(face >= 0)
        for b in index:
            if a == b:
                continue
            there = project(result, index[b])[0]
            for k in np.flatnonzero(joints[a][1] & joints[b][1]):
                if not len(pixels):
                    correct.append(False)
                    continue
                row, column = pixels[((pixels[:, ::-1] + 0.5 - joints[a][0][k]) ** 2).sum(1).argmin()]
                carried = weights[row, column] @ there[result["faces"][face[row, column]]]
                correct.append(math.dist(carried, joints[b][0][k]) < alpha * math.sqrt(areas[a]))
    return {"pck_t": np.mean(correct) if correct else None, "pck_pairs": len(correct)}


def nearest(points, targets):
    """Index of the target (M, 3) nearest to each point (N, 3), and its distance, by comparing all with all."""
    squared = sum((points[:, k, None] - targets[:, k]) ** 2 for k in range(3))
    return squared.argmin(1), np.sqrt(squared.min(1))


def chamfer(a, b):
    """Half the sum of the mean distances from points a to b and from b to a."""
    return (nearest(a, b)[1].mean() + nearest(b, a)[1].mean()) / 2


def similarity(points, targets):
    """Scale, rotation (3, 3) and translation with the least squared error, the rotation by quaternions (Horn 1987)."""
    p, q = points - points.mean(0), targets - targets.mean(0)
    s = p.T @ q
    skew = s - s.T
    matrix = np.empty((4, 4))
    matrix[0, 0], matrix[1:, 1:] = np.trace(s), s + s.T - np.trace(s) * np.eye(3)
    matrix[0, 1:] = matrix[1:, 0] = skew[1, 2], skew[2, 0], skew[0, 1]
    w, x, y, z = np.linalg.eigh(matrix)[1][:, -1]
    rotation = np.array([[1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
                         [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
                         [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]])
    scale = ((p @ rotation.T) * q).sum() / (p**2).sum()
    return scale, rotation, targets.mean(0) - scale * rotation @ points.mean(0)


def iterated_closest_points(points, targets, iterations=40):
    """The similarity, as a function of points (N, 3), that lays the points on the targets, closest points both ways."""
    scale = math.sqrt(targets.var(0).sum() / points.var(0).sum())
    rotation, move = np.eye(3), targets.mean(0) - scale * points.mean(0)
    for _ in range(iterations):
        moved = scale * points @ rotation.T + move
        there, back = nearest(moved, targets)[0], nearest(targets, moved)[0]
        scale, rotation, move = similarity(np.concatenate([points, points[back]]),
                                           np.concatenate([targets[there], targets]))
    return lambda anything: scale * anything @ rotation.T + move


def shape_figures(result, truth, every, sample, samples, track_samples):
    """chamfer, pose_chamfer and track, each a mean over every n-th frame in diagonals of the true mesh's bounding box.

    truth    mapping with vertices (N, V, 3), faces and world_to_camera (N, 4, 4)
    sample   called with vertices, faces, a count and a seed: points spread over that surface
    All true vertices are followed.
    """
    rows = []
    indices = range(0, len(result["frames"]), every)
    cameras = {i: truth["world_to_camera"][result["frames"][i]][:3, :3] for i in indices}
    # The turn from the result's axes to the world's that all frames agree on best: as a similarity of axes.
    axes = np.concatenate([result["camera_rotation"][i].astype(float) for i in indices])
    world = similarity_of_directions(axes, np.concatenate([cameras[i] for i in indices]))
    pairs, followed = [], None
    for i in indices:
        true_world = truth["vertices"][result["frames"][i]].astype(float)
        found_object = result["vertices"][i].astype(float)
        true, found = true_world @ cameras[i].T, found_object @ result["camera_rotation"][i].T.astype(float)
        true_points = sample(true, truth["faces"], samples, 0)
        found_points = sample(found, result["faces"], samples, 1)
        laid = iterated_closest_points(found_points, true_points)(found_points)
        a = sample(found_object @ world.T, result["faces"], samples, 1)
        b = sample(true_world, truth["faces"], samples, 0)
        pairs.append((a - a.mean(0), b - b.mean(0)))
        lay = iterated_closest_points(sample(found, result["faces"], track_samples, 1),
                                      sample(true, truth["faces"], track_samples, 0))
        vertices = lay(found)
        followed = nearest(true, vertices)[0] if followed is None else followed
        rows.append((chamfer(laid, true_points), np.linalg.norm(vertices[followed] - true, axis=1).mean(),
                     math.dist(true_world.min(0), true_world.max(0))))
    by_frame, drift, diagonal = np.array(rows).T
    scale = math.sqrt(sum((b**2).sum() for _, b in pairs) / sum((a**2).sum() for a, _ in pairs))
    of_clip = np.array([chamfer(scale * a, b) for a, b in pairs])
    drift = drift / diagonal
    return {"chamfer": (by_frame / diagonal).mean(), "pose_chamfer": (of_clip / diagonal).mean(),
            "track": (drift[1:] if len(drift) > 1 else drift).mean()}


def similarity_of_directions(points, targets):
    """The rotation (3, 3) alone that best takes directions (N, 3) to others: about the origin, not the means."""
    return similarity(np.concatenate([points, -points]), np.concatenate([targets, -targets]))[1]
