"""Renders an image collection of a subject: images with masks, keypoints and the ground truth of a renderer.

    images/000000.png ...   the images
    annotations.json        masks and keypoints in COCO's format
    truth.npz               ground truth: cameras and keypoints in 3D (docs/category-models.md)
    dataset.json            what was asked for
    rows/000000.npz ...     all that is known of each image; an interrupted rendering resumes after the last one
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ...vmr_backend.annotations import ABSENT, Annotation, Category, save_annotations
from ...vmr_backend.job import BadInput, write_whole
from .image import composed, mask_of, png
from .keypoints import category_of, choose_keypoints
from .render import ENGINES, ObjectRender, Studio
from .subject import DatasetSubject, fingerprint, motions_of
from .variation import draw

LICENCE = "the licence of the rendered asset"
TRUTH_NAME, REQUEST_NAME = "truth.npz", "dataset.json"
SMALLEST, LARGEST = 32, 2048
MOST_IMAGES = 100_000


@dataclass(frozen=True)
class CollectionRequest:
    """What is asked for."""

    category: str
    images: int = 400
    size: int = 128
    """Sides of the images, pixels."""
    seed: int = 0
    keypoints: tuple[str, ...] = ()
    """Names; empty for an automatic choice."""
    engine: str = "CYCLES"

    def check(self) -> CollectionRequest:
        """This; BadInput where it is out of range."""
        if not 1 <= self.images <= MOST_IMAGES:
            raise BadInput(f"images: found {self.images}, needs 1 to {MOST_IMAGES}")
        if not SMALLEST <= self.size <= LARGEST:
            raise BadInput(f"size: found {self.size}, needs {SMALLEST} to {LARGEST} pixels")
        if self.seed < 0:
            raise BadInput(f"seed: found {self.seed}, needs 0 or more")
        if self.engine not in ENGINES:
            raise BadInput(f"engine: found {self.engine!r}, needs one of {', '.join(ENGINES)}")
        return self


def render_dataset(subject: DatasetSubject, request: CollectionRequest, folder: Path,
                   progress: Callable[[int, int, int], None] = lambda step, total, kept: None) -> None:
    """Render the images of the collection that the folder lacks, and write its annotations.

    Image i depends on the subject, the seed and i only. The subject's animation is changed: call it on a copy of the
    file.
    progress  takes images rendered, images to render, images that were there before
    """
    request.check()
    keypoints = choose_keypoints(subject, request.keypoints)
    _begin(folder, subject, request)
    missing = [number for number in range(request.images) if _row(folder, number) is None]
    studio = Studio(subject, request.size, request.engine)
    motions, bones = motions_of(subject), bone_pairs(subject)
    progress(0, len(missing), request.images - len(missing))
    for done, number in enumerate(missing, 1):
        variation = draw(request.seed, number, motions, bones, studio.has_material)
        render = studio.render(variation, keypoints)
        if not mask_of(render.pixels).any():
            raise BadInput(f"{subject.name}: invisible in a render (image {number}); needs meshes with faces and a "
                           "material that is not transparent")
        write_whole(folder / _file(number), png(composed(render.pixels, variation)))
        _save_row(folder, number, render, request.size)
        progress(done, len(missing), request.images - len(missing))
    _save_collection(folder, [_row(folder, number) for number in range(request.images)],
                     category_of(subject, request.category, keypoints))


def bone_pairs(subject: DatasetSubject) -> list[tuple[str, ...]]:
    """Names of deforming bones but the roots, those of a left and right pair together."""
    if subject.armature is None:
        return []
    names = tuple(bone.name for bone in subject.armature.data.bones if bone.use_deform and bone.parent is not None)
    return sorted({tuple(sorted({name, names[other]}))
                   for name, other in zip(names, Category("", names).mirror, strict=True)})


def _begin(folder: Path, subject: DatasetSubject, request: CollectionRequest) -> None:
    """Make the folder; BadInput where it holds images of another collection."""
    asked = asdict(request) | {"object": subject.name, "fingerprint": fingerprint(subject)}
    del asked["images"]  # more may be added
    asked["keypoints"] = list(request.keypoints)
    path = folder / REQUEST_NAME
    try:
        before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        if before is not None and before != asked:
            other = [name for name in asked if not isinstance(before, dict) or before.get(name) != asked[name]]
            raise BadInput(f"{folder}: found images of another {', '.join(other)}; needs an empty folder, or what "
                           "those were rendered with")
        (folder / "images").mkdir(parents=True, exist_ok=True)
        (folder / "rows").mkdir(exist_ok=True)
        write_whole(path, json.dumps(asked, indent=1).encode())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadInput(f"{folder}: cannot be used ({reason}); choose another folder") from None


def _file(number: int) -> str:
    return f"images/{number:06d}.png"


def _save_row(folder: Path, number: int, render: ObjectRender, size: int) -> None:
    camera = render.camera
    pixels = camera.project(render.keypoints)
    with np.errstate(invalid="ignore"):
        inside = ((pixels >= 0) & (pixels <= size)).all(1)
    states = np.where(inside, render.states, ABSENT)
    keypoints = np.where(inside[:, None], np.column_stack([pixels, states]), 0.0)
    scale, shift = camera.weak(size, render.centre)
    content = io.BytesIO()
    np.savez_compressed(
        content, mask=mask_of(render.pixels), keypoints=keypoints, keypoints_3d=render.keypoints,
        rotation=camera.rotation, translation=camera.translation, focal=camera.focal, principal=camera.principal,
        scale=scale, shift=shift)
    write_whole(folder / "rows" / f"{number:06d}.npz", content.getvalue())


def _row(folder: Path, number: int) -> dict[str, np.ndarray] | None:
    """What is known of an image; None where it is not rendered yet."""
    path = folder / "rows" / f"{number:06d}.npz"
    if not path.is_file() or not (folder / _file(number)).is_file():
        return None
    try:
        with np.load(path) as values:
            return dict(values)
    except (OSError, ValueError, zipfile.BadZipFile):
        return None


def _save_collection(folder: Path, rows: Sequence[dict[str, np.ndarray]], category: Category) -> None:
    annotations = [Annotation(_file(number), row["mask"], row["keypoints"]) for number, row in enumerate(rows)]
    truth = io.BytesIO()
    names = [name for name in rows[0] if name not in ("mask", "keypoints")]
    np.savez_compressed(truth, **{name: np.stack([row[name] for row in rows]) for name in names})
    write_whole(folder / TRUTH_NAME, truth.getvalue())
    save_annotations(folder, category, annotations, LICENCE)
