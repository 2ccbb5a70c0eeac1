"""Masks by SAM 2's video predictor (Ravi et al. 2024), where the user has it: the package `sam2` and a checkpoint."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from ..job import BadInput
from ..video.footage import Progress
from .marks import Mark
from .network_file import of_the_users_own

SIZES = {"tiny": "t", "small": "s", "base_plus": "b+", "large": "l"}
QUALITY = 95
"""Of the JPEG images that the predictor reads frames from."""


def config_of(checkpoint: Path) -> str:
    """The package's configuration for a checkpoint as it is distributed: sam2.1_hiera_tiny.pt and so on."""
    version, _, size = checkpoint.stem.partition("_hiera_")
    if version not in ("sam2", "sam2.1") or size not in SIZES:
        raise BadInput(f"{checkpoint}: found no checkpoint of SAM 2 by its name; needs one as sam2.1_hiera_tiny.pt, "
                       f"with {', '.join(SIZES)}")
    return f"configs/{version}/{version}_hiera_{SIZES[size]}.yaml"


def load_predictor(checkpoint: Path, device: torch.device) -> Any:
    """SAM 2's video predictor; BadInput where package or checkpoint cannot be used."""
    config = config_of(checkpoint)
    with of_the_users_own(checkpoint, "a checkpoint of SAM 2", "sam2"):
        from sam2.build_sam import build_sam2_video_predictor
        return build_sam2_video_predictor(config, str(checkpoint), device=str(device))


@torch.inference_mode()
def find_by_sam2(predictor: Any, pictures: Sequence[np.ndarray], scale: float, marks: Sequence[Mark],
                 indices: Sequence[int], painted: Mapping[int, np.ndarray], report: Progress) -> np.ndarray:
    """Probabilities (T, h, w) in pictures (h, w, 3) uint8 RGB, which are `scale` times the full frames, from marks on
    the pictures at some indices; painted has the masks of marks by frame number, in 0..1 of the full frame."""
    shape = pictures[0].shape[:2]
    found = np.zeros((len(pictures), *shape), np.float16)
    with tempfile.TemporaryDirectory() as folder:
        for number, picture in enumerate(pictures):
            data = cv2.imencode(".jpg", picture[..., ::-1], [cv2.IMWRITE_JPEG_QUALITY, QUALITY])[1]
            (Path(folder) / f"{number:06d}.jpg").write_bytes(data.tobytes())
        state = predictor.init_state(video_path=folder, offload_video_to_cpu=True)
    for mark, index in zip(marks, indices, strict=True):
        if mark.mask:
            mask = cv2.resize(painted[mark.frame].astype(np.float32), shape[::-1], interpolation=cv2.INTER_AREA) > 0.5
            predictor.add_new_mask(state, frame_idx=index, obj_id=1, mask=mask)
        if mark.box or mark.inside or mark.outside:
            predictor.add_new_points_or_box(state, frame_idx=index, obj_id=1, **_prompts(mark, scale))
    done = 0
    for start, back in ((min(indices), False), (max(indices), True)):
        for index, _, logits in predictor.propagate_in_video(state, start_frame_idx=start, reverse=back):
            # Between the first mark and the last the way ahead counts.
            if not back or index < min(indices):
                found[index] = torch.sigmoid(logits[0, 0].float()).cpu().numpy()
            done += 1
            report(min(done, len(pictures)), len(pictures))
    return found


def _prompts(mark: Mark, scale: float) -> dict[str, Any]:
    prompts: dict[str, Any] = {}
    if mark.box:
        left, top, width, height = (scale * side for side in mark.box)
        prompts["box"] = np.array([left, top, left + width, top + height], np.float32)
    if mark.inside or mark.outside:
        prompts["points"] = scale * np.array([*mark.inside, *mark.outside], np.float32)
        prompts["labels"] = np.array([1] * len(mark.inside) + [0] * len(mark.outside), np.int32)
    return prompts
