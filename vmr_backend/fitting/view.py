"""How the camera of a footage and its crops stand: what is known of them, as tensors."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..geometry.cameras import crop_intrinsics
from ..priors import Priors, hints_at, intrinsics_of
from ..settings import Settings
from ..video.footage import Footage


@dataclass(frozen=True)
class Hints:
    """Which way the subject faces in some frames, as a user sees it."""

    frames: Tensor
    """(K,) int64, indices among a clip's frames."""
    rotations: Tensor
    """(K, 3, 3), object to camera."""


@dataclass(frozen=True)
class LandmarkTracks:
    """Where landmarks are predicted in every frame."""

    names: tuple[str, ...]
    """L of them."""
    points: Tensor
    """(T, L, 2), crop units."""


@dataclass(frozen=True)
class View:
    """How the footage's camera and crops stand in pixels of the full frame; T frames."""

    numbers: Tensor
    """(T,) frame numbers."""
    intrinsics: Tensor
    """(T, 4) fx, fy, cx, cy of the full frame."""
    crop_centre: Tensor
    """(T, 2)."""
    crop_half: Tensor
    """(T,)."""
    hints: Hints | None = None
    """None where there are none."""
    landmarks: LandmarkTracks | None = None
    """Likewise."""
    guessed: bool = False
    """The focal length is a guess, which the fit corrects."""

    @staticmethod
    def of(footage: Footage, priors: Priors, settings: Settings, device: torch.device) -> View:
        """What is known of the footage's camera beforehand."""
        intrinsics = intrinsics_of(priors, footage.image_size, settings.field_of_view)
        numbers, each, centre, half = (torch.as_tensor(x).float().to(device) for x in (
            footage.numbers, np.repeat(intrinsics[None], len(footage.numbers), 0), footage.crop_centre,
            footage.crop_half))
        indices, rotations = (torch.from_numpy(x).to(device) for x in hints_at(priors, footage.numbers))
        hints = Hints(indices, rotations.float()) if len(indices) else None
        seen, tracks = priors.landmarks, None
        if seen is not None:
            tracks = LandmarkTracks(seen.names, torch.from_numpy(seen.points).to(device))
        return View(numbers, each, centre, half, hints, tracks,
                    guessed=settings.fit_focal_length and priors.focal_length is None)

    @property
    def in_crop(self) -> Tensor:
        """(T, 4) intrinsics in crop coordinates."""
        return crop_intrinsics(self.intrinsics, self.crop_centre, self.crop_half)
