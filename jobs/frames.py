"""Frames as Blender shows them, rendered to images by another Blender on a copy of the file.

Images of a clip lie beside it, those of a strip or of the compositor beside the .blend:

    footage/phone.mp4    footage/phone frames/000000.png ...
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ..vmr_backend.job import BadInput, write_whole
from .models import file_name
from .process import LOG_NAME, Child

PROGRAM = Path(__file__).parent.parent / "scene" / "blend_program.py"
REQUEST_NAME = "frames.json"
"""What the images in a folder show; one that has it may be rendered anew."""
IN_BLENDER = ("--background", "--factory-startup", "-noaudio", "--python-exit-code", "1", "--python")
COPY_NAME = "copy.blend"


def frames_folder(beside: Path, name: str) -> Path:
    """Folder for the images of something. beside: a file or folder next to it. Folders with other contents are left."""
    names = (f"{file_name(name)} frames{f' {number}' if number > 1 else ''}" for number in itertools.count(1))
    return next(folder for folder in map(beside.parent.joinpath, names) if is_for_frames(folder))


def is_for_frames(folder: Path) -> bool:
    """Whether a folder is missing, empty, or holds rendered frames."""
    return not folder.exists() or (folder / REQUEST_NAME).is_file() or (folder.is_dir() and not any(folder.iterdir()))


class FrameRendering(Child):
    """Renders images into a folder."""

    def __init__(self, folder: Path, shown: Mapping[str, Any], blender: str, save_copy: Callable[[Path], None]):
        """shown      the fields of scene/shown_frames.py's Shown
        blender    the program; empty where Blender is a module of this Python
        save_copy  writes the .blend to a path

        BadInput where the folder holds other things, or cannot be written.
        """
        self.folder, self._copy = folder, folder / COPY_NAME
        try:
            if not is_for_frames(folder):
                raise BadInput(f"{folder}: found files that are not rendered frames; needs an empty folder, or none")
            folder.mkdir(parents=True, exist_ok=True)
            request = json.dumps(dict(shown))
            write_whole(folder / REQUEST_NAME, request.encode())
        except OSError as error:
            raise BadInput(f"{folder}: cannot be written ({error.strerror}); choose another folder") from None
        save_copy(self._copy)
        start = [blender, *IN_BLENDER] if blender else [sys.executable, "-u"]
        super().__init__([*start, str(PROGRAM), "--", "frames", str(self._copy), str(folder), request],
                         folder / LOG_NAME)

    @property
    def running(self) -> bool:
        running = super().running
        if not running:
            self._copy.unlink(missing_ok=True)
        return running

    def images(self) -> list[Path]:
        """What was rendered, in order; BadInput where there is nothing."""
        if not (found := sorted(self.folder.glob("*.png"))):
            raise BadInput(f"{self.folder}: found no rendered frames; more in {self.log}")
        return found
