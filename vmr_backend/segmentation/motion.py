"""How masks and background move from one frame of a clip to another: by optical flow, and outside the subject by a
homography."""

from __future__ import annotations

import cv2
import numpy as np

EVERY = 6
"""Of the pixels across and down, one in so many is used."""
WITHIN = 1.0
"""Pixels up to which a pixel counts as moving with the background."""
FEWEST = 12
FINER = 2
"""Flow of pictures is found in ones so many times as large, if the footage has them: its patches are eight pixels wide,
and legs and necks are narrow."""


def flow_from_to(first: np.ndarray, second: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """Optical flow (h, w, 2) from one picture (H, W, 3) uint8 RGB to another, in pixels of a smaller one of a shape
    (h, w): dense inverse search (Kroeger et al. 2016) down to single pixels."""
    search = cv2.DISOpticalFlow_create(cv2.DISOPTICAL_FLOW_PRESET_FAST)
    search.setFinestScale(0)
    search.setGradientDescentIterations(6)
    # Smoothing carries motion across the subject's edge, and takes as long again.
    search.setVariationalRefinementIterations(0)
    flow = search.calc(*(cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY) for picture in (first, second)), None)
    height, width = shape[:2]
    if flow.shape[:2] == (height, width):
        return flow
    ratio = np.array([width / flow.shape[1], height / flow.shape[0]], np.float32)
    return cv2.resize(flow, (width, height), interpolation=cv2.INTER_AREA) * ratio


def background_homography(flow: np.ndarray, subject: np.ndarray) -> np.ndarray:
    """The homography (3, 3) that moves most pixels outside the subject (H, W) bool as flow (H, W, 2) does.

    RANSAC (Fischler & Bolles 1981), as OpenCV has it. Where too little is outside, or no homography is found, the
    median of the motion there.
    """
    chosen = np.zeros(subject.shape, bool)
    chosen[EVERY // 2::EVERY, EVERY // 2::EVERY] = True
    chosen &= ~subject
    rows, columns = np.nonzero(chosen)
    pixels, ways = np.stack([columns, rows], 1).astype(np.float32), flow[rows, columns]
    found = cv2.findHomography(pixels, pixels + ways, cv2.RANSAC, WITHIN)[0] if len(pixels) >= FEWEST else None
    if found is not None:
        return found
    shift = np.median(ways, 0) if len(ways) else np.zeros(2)
    return np.array([[1, 0, shift[0]], [0, 1, shift[1]], [0, 0, 1.0]])


def carried(mask: np.ndarray, back: np.ndarray) -> np.ndarray:
    """The mask (h, w) of another frame, where flow (h, w, 2) to that frame leads."""
    rows, columns = np.mgrid[:mask.shape[0], :mask.shape[1]].astype(np.float32)
    return cv2.remap(mask.astype(np.float32), columns + back[..., 0], rows + back[..., 1], cv2.INTER_LINEAR)
