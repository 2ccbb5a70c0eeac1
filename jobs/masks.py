"""Where a subject's masks lie, and the search for them as a child process.

Masks are kept beside the clip, so that they are found again by whoever opens it:

    footage/fox.mp4         footage/fox masks/Fox/masks/000000.png ...
    footage/fox/0105.png    footage/fox masks/Fox/masks/000105.png ...
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from ..vmr_backend.job import BadInput
from ..vmr_backend.segmentation.marks import MASKS_NAME, MaskReport, SegmentRequest
from .models import file_name
from .process import LOG_NAME, WORKER, Child


def masks_folder(clip: Path, subject: str, taken: Collection[Path]) -> Path:
    """The folder of a subject's search for masks.

    clip    its movie, or the folder of its images
    taken   where masks of other subjects lie: one that was renamed keeps its own, and so do twins of a clip
    """
    beside = clip.parent / f"{clip.stem if clip.is_file() else clip.name} masks"
    name, number = file_name(subject), 1
    while any(other.is_relative_to(beside / name) for other in taken):
        number += 1
        name = f"{file_name(subject)} {number}"
    return beside / name


def drawn_folder(masks: Path, frame: int | None) -> Path:
    """Where in a subject's folder masks lie that the user drew: that of a frame that it marks, or those of all."""
    return masks / "drawn" / ("all" if frame is None else str(frame))


class MaskSearch(Child):
    """A search for masks in a folder, which receives the request."""

    def __init__(self, folder: Path, request: SegmentRequest, python: Path, worker: Path = WORKER):
        request.check().save(folder)
        super().__init__([str(python), "-I", "-u", str(worker), "segment", "--job", str(folder), "--watch-stdin"],
                         folder / LOG_NAME)
        self.folder = folder

    @property
    def masks(self) -> Path:
        return self.folder / MASKS_NAME

    def report(self) -> MaskReport:
        """What is to be said of the masks; BadInput where the search left none."""
        if not self.masks.is_dir():
            raise BadInput(f"{self.masks}: not found; find the masks again")
        return MaskReport.load(self.folder)
