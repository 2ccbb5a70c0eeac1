"""Keypoint transfer against what is known of an egg and against an independent implementation."""

from dataclasses import replace

import numpy as np
import oracle
import pytest

from vmr_backend.metrics.pck import Keypoints, keypoint_transfer
from vmr_backend.metrics.raster import project, visible_faces


def true_keypoints(egg, frames=(0, 1, 2), count=40):
    """Vertices as annotated points, visible where they are seen."""
    vertices = np.arange(0, len(egg.result.rest_vertices), len(egg.result.rest_vertices) // count)
    marks = {}
    for number in frames:
        points = project(egg.result, number)[0]
        seen = np.unique(egg.result.faces[np.unique(visible_faces(egg.result, number)[0])[1:]])
        marks[number] = Keypoints(points[vertices], np.isin(vertices, seen), egg.masks[number].sum())
    return marks


def test_the_true_motion_carries_keypoints_to_themselves(egg):
    transfer = keypoint_transfer(egg.result, true_keypoints(egg), alpha=0.1)
    assert transfer.total > 60 and transfer.pck > 0.95


def test_a_mesh_that_does_not_turn_loses_keypoints(egg):
    still = replace(egg.result, camera_rotation=np.repeat(egg.result.camera_rotation[:1], 12, 0))
    assert keypoint_transfer(still, true_keypoints(egg), alpha=0.1).pck < 0.5


def test_keypoints_where_nothing_is_drawn_are_not_found(egg):
    away = replace(egg.result, camera_translation=egg.result.camera_translation * np.float32(-1))
    transfer = keypoint_transfer(away, true_keypoints(egg))
    assert transfer.pck == 0 and transfer.total > 60
    assert keypoint_transfer(egg.result, {0: true_keypoints(egg)[0]}).pck is None


def test_keypoint_transfer_equals_the_independent_one(egg):
    random = np.random.default_rng(0)
    marks = {number: replace(true, points=true.points + random.normal(size=true.points.shape) * 6)
             for number, true in true_keypoints(egg, (0, 2, 5)).items()}
    expected = oracle.keypoint_transfer(vars(egg.result), {n: (m.points, m.visible) for n, m in marks.items()},
                                        {n: m.mask_area for n, m in marks.items()})
    transfer = keypoint_transfer(egg.result, marks)
    assert (transfer.pck, transfer.total) == pytest.approx((expected["pck_t"], expected["pck_pairs"]))
    assert 0.3 < transfer.pck < 0.99
