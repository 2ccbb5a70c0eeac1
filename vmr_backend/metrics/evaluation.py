"""All figures of a result folder against what is known of its clip: masks, true meshes, annotated keypoints."""

from __future__ import annotations

import json
import sys
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ..arguments import Arguments
from ..job import EXIT_DONE, REQUEST_NAME, BadInput, JobRequest
from ..reconstruction import Reconstruction
from ..video.clip import Clip, open_clip, select
from ..video.subjects import Choice
from .mask_agreement import evaluate, masks_of
from .pck import Keypoints, keypoint_transfer
from .shape import Truth, compare_shape

BADJA_SIZE = (1080, 1920)
"""Height and width of the pictures in which BADJA's joints are given where a file does not say."""


def main(argv: list[str] | None = None) -> int:
    """`python -m vmr_backend evaluate DIR --masks MASKS ...`: one JSON line of figures; returns the exit status."""
    parser = Arguments(prog="python -m vmr_backend evaluate", description=__doc__)
    parser.add_argument("result", type=Path, metavar="DIR", help="folder of a result")
    parser.add_argument("--masks", type=Path, required=True,
                        help="folder of images named by frame number, or a video")
    parser.add_argument("--gt", type=Path, metavar="FILE.npz",
                        help="true meshes (vertices, faces, world_to_camera): adds chamfer, pose_chamfer, track")
    parser.add_argument("--keypoints", type=Path, metavar="FILE.json",
                        help="annotated joints in BADJA's format: adds pck_t, pck_pairs")
    parser.add_argument("--every", type=int, default=4, metavar="N",
                        help="compare every N-th frame with the true meshes (default: 4)")
    given = parser.parse_args(argv)
    print(json.dumps(evaluate_folder(given.result, given.masks, given.gt, given.keypoints, given.every,
                                     warn=lambda note: print(note, file=sys.stderr))))
    return EXIT_DONE


def evaluate_folder(folder: Path, masks: Path, truth: Path | None = None, keypoints: Path | None = None,
                    every: int = 4, warn: Callable[[str], object] = lambda note: None) -> dict[str, Any]:
    """What `evaluate` prints, by name; None where a figure cannot be known. BadInput names a file that is unusable.

    warn    called with a line of how the masks were read, where they are not plain
    """
    if every < 1:
        raise BadInput(f"--every: found {every}, needs 1 or more")
    result = Reconstruction.load(folder)
    true_meshes = load_truth(truth) if truth else None
    joints = load_joints(keypoints) if keypoints else {}
    facts, notes = masks_of(result, masks, *_run_in(folder, masks))
    for note in notes:
        warn(note)
    figures: dict[str, Any] = dict(evaluate(result, ((n, one.mask() > 0) for n, one in facts.items())).means())
    if true_meshes:
        figures |= asdict(compare_shape(result, true_meshes, every))
    if keypoints:
        size = result.image_size.astype(float)
        marks = {number: Keypoints(points * size, visible, facts[number].area)
                 for number, (points, visible) in joints.items() if number in facts}
        transfer = keypoint_transfer(result, marks)
        figures |= {"pck_t": transfer.pck, "pck_pairs": transfer.total}
    return figures


def _run_in(folder: Path, masks: Path) -> tuple[Clip | None, np.ndarray | None, Choice | None]:
    """The clip that the run in a folder was about and the frames that it was asked for, where it is still at its place,
    and the subject, where these are the masks that it was chosen in."""
    if not (folder / REQUEST_NAME).is_file():
        return None, None, None
    request = JobRequest.load(folder)
    same = request.masks is not None and Path(request.masks) == masks.absolute()
    choice = Choice.of(request) if same else None
    try:
        clip = open_clip(request.clip, request.files, shown=request.shown, pixel_aspect=1.0)
        return clip, select(clip, request.first, request.last), choice
    except BadInput:
        return None, None, choice


def load_truth(path: Path) -> Truth:
    """The meshes of an npz with `vertices` (N, V, 3), `faces` (F, 3) and `world_to_camera` (N, 4, 4)."""
    needed = "needs an npz with vertices (N, V, 3), faces (F, 3) and world_to_camera (N, 4, 4)"
    try:
        with np.load(path, allow_pickle=False) as archive:
            vertices, faces, cameras = (np.asarray(archive[name]) for name in ("vertices", "faces", "world_to_camera"))
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror or error}); {needed}") from None
    except (ValueError, TypeError, AttributeError, KeyError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile,
            zlib.error) as error:
        raise BadInput(f"{path}: is no ground truth ({error}); {needed}") from None
    shapes = f"vertices {vertices.shape}, faces {faces.shape}, world_to_camera {cameras.shape}"
    fits = vertices.ndim == 3 and vertices.shape[2] == 3 and faces.ndim == 2 and faces.shape[1] == 3 and faces.size \
        and cameras.shape == (len(vertices), 4, 4) and vertices.size and faces.dtype.kind in "iu"
    if not fits or faces.min() < 0 or faces.max() >= vertices.shape[1]:
        raise BadInput(f"{path}: found {shapes}; {needed}")
    if not all(array.dtype.kind == "f" and np.isfinite(array).all() for array in (vertices, cameras)):
        raise BadInput(f"{path}: found values that are no finite numbers; {needed}")
    return Truth(vertices, faces, cameras[:, :3, :3].astype(np.float64))


def load_joints(path: Path) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Samples (K, 2), x and y in fractions of the picture, and visibility (K,) of BADJA's joints by number of frame."""
    needed = "needs BADJA's format: a list of objects with image_path, joints and visibility"
    try:
        joints = {}
        for note in json.loads(path.read_text(encoding="utf-8")):
            points, visible = np.array(note["joints"], float), np.array(note["visibility"], bool)
            if points.shape != (len(visible), 2) or not np.isfinite(points).all():
                raise ValueError(f"joints of shape {points.shape} with visibility of shape {visible.shape}")
            height, width = note.get("image_size") or BADJA_SIZE
            if not (height > 0 and width > 0):
                raise ValueError(f"image_size {height}, {width}")
            joints[int(Path(note["image_path"]).stem)] = points[:, ::-1] / [width, height], visible
    except OSError as error:
        raise BadInput(f"{path}: cannot be read ({error.strerror}); {needed}") from None
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise BadInput(f"{path}: is no annotation ({error}); {needed}") from None
    if len({len(visible) for _, visible in joints.values()}) > 1:
        raise BadInput(f"{path}: found frames with different numbers of joints; {needed}")
    return joints
