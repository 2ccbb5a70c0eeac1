"""Renders an image collection of a subject: pictures, masks, keypoints, and the truth of each.

    images/000000.png ...   the pictures
    annotations.json        masks and keypoints in COCO's format
    truth.npz               what only a renderer knows: cameras and keypoints in space (docs/category-models.md)
    dataset.json            what was asked for
    rows/000000.npz ...     all that is known of each picture; rendering goes on where the last one is
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from ..vmr_backend.annotations import ABSENT, Annotation, Category, save_annotations
from ..vmr_backend.job import BadInput, write_whole
from .keypoints import category_of, choose_keypoints
from .picture import composed, mask_of, png
from .studio import ENGINES, Photograph, Studio
from .subject import Subject, fingerprint, motions_of
from .variation import draw

LICENCE = "the licence of the rendered asset"
TRUTH_NAME, REQUEST_NAME = "truth.npz", "dataset.json"
SMALLEST, LARGEST = 32, 2048
MOST_IMAGES = 100_000


@dataclass(frozen=True)
class Collection:
    """What is asked for."""

    category: str
    images: int = 400
    size: int = 128
    """Sides of the pictures, pixels."""
    seed: int = 0
    keypoints: tuple[str, ...] = ()
    """Names; empty chooses by itself."""
    engine: str = "CYCLES"

    def check(self) -> Collection:
        """This, or BadInput where it cannot be."""
        if not 1 <= self.images <= MOST_IMAGES:
            raise BadInput(f"images: found {self.images}, needs 1 to {MOST_IMAGES}")
        if not SMALLEST <= self.size <= LARGEST:
            raise BadInput(f"size: found {self.size}, needs {SMALLEST} to {LARGEST} pixels")
        if self.seed < 0:
            raise BadInput(f"seed: found {self.seed}, needs 0 or more")
        if self.engine not in ENGINES:
            raise BadInput(f"engine: found {self.engine!r}, needs one of {', '.join(ENGINES)}")
        return self


def render_dataset(subject: Subject, asked: Collection, folder: Path,
                   progress: Callable[[int, int, int], None] = lambda step, total, kept: None) -> None:
    """Render what of the collection is missing in the folder, and write its annotations.

    Picture i is the same for the same subject and seed, however many there are. The subject's animation is changed:
    call it on a copy of the file.
    progress  takes pictures rendered, pictures to render, pictures that were there before
    """
    asked.check()
    keypoints = choose_keypoints(subject, asked.keypoints)
    _begin(folder, subject, asked)
    missing = [number for number in range(asked.images) if _row(folder, number) is None]
    studio = Studio(subject, asked.size, asked.engine)
    motions, bones = motions_of(subject), bone_pairs(subject)
    progress(0, len(missing), asked.images - len(missing))
    for done, number in enumerate(missing, 1):
        variation = draw(asked.seed, number, motions, bones, studio.has_material)
        photograph = studio.photograph(variation, keypoints)
        if not mask_of(photograph.pixels).any():
            raise BadInput(f"{subject.name}: nothing of it is seen in a render (picture {number}); needs meshes with "
                           "faces and a material that shows")
        write_whole(folder / _file(number), png(composed(photograph.pixels, variation)))
        _save_row(folder, number, photograph, asked.size)
        progress(done, len(missing), asked.images - len(missing))
    _save_collection(folder, [_row(folder, number) for number in range(asked.images)],
                     category_of(subject, asked.category, keypoints))


def bone_pairs(subject: Subject) -> list[tuple[str, ...]]:
    """Names of deforming bones below the first, those of a left and right pair together."""
    if subject.armature is None:
        return []
    names = tuple(bone.name for bone in subject.armature.data.bones if bone.use_deform and bone.parent is not None)
    return sorted({tuple(sorted({name, names[other]}))
                   for name, other in zip(names, Category("", names).mirror, strict=True)})


def _begin(folder: Path, subject: Subject, asked: Collection) -> None:
    """Make the folder, or BadInput where it holds pictures of another collection."""
    # Later pictures do not depend on how many there are, nor on the engine's speed.
    request = asdict(asked) | {"object": subject.name, "fingerprint": fingerprint(subject)}
    del request["images"]
    request["keypoints"] = list(asked.keypoints)
    path = folder / REQUEST_NAME
    try:
        before = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None
        if before is not None and before != request:
            other = [name for name in request if not isinstance(before, dict) or before.get(name) != request[name]]
            raise BadInput(f"{folder}: found pictures of another {', '.join(other)}; needs an empty folder, or what "
                           "those were rendered with")
        (folder / "images").mkdir(parents=True, exist_ok=True)
        (folder / "rows").mkdir(exist_ok=True)
        write_whole(path, json.dumps(request, indent=1).encode())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise BadInput(f"{folder}: cannot be used ({reason}); choose another folder") from None


def _file(number: int) -> str:
    return f"images/{number:06d}.png"


def _save_row(folder: Path, number: int, photograph: Photograph, size: int) -> None:
    camera = photograph.camera
    pixels = camera.project(photograph.places)
    with np.errstate(invalid="ignore"):
        inside = ((pixels >= 0) & (pixels <= size)).all(1)
    states = np.where(inside, photograph.states, ABSENT)
    keypoints = np.where(inside[:, None], np.column_stack([pixels, states]), 0.0)
    scale, shift = camera.weak(size, photograph.middle)
    content = io.BytesIO()
    np.savez_compressed(
        content, mask=mask_of(photograph.pixels), keypoints=keypoints, keypoints_3d=photograph.places,
        rotation=camera.rotation, translation=camera.translation, focal=camera.focal, principal=camera.principal,
        scale=scale, shift=shift)
    write_whole(folder / "rows" / f"{number:06d}.npz", content.getvalue())


def _row(folder: Path, number: int) -> dict[str, np.ndarray] | None:
    """What is known of a picture; None where it is not rendered yet."""
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
