"""Snapshots of a run: written when it is time, whole, and seldom where they take long."""

import pytest
from turning_eggs import FRAMES

from vmr_backend.reconstruction import SNAPSHOT_NAME, Reconstruction
from vmr_backend.snapshots import LARGEST_SHARE, SECONDS_BETWEEN, Snapshots


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.mark.parametrize("takes", [0.0, 1.0])
def test_a_snapshot_is_made_when_it_is_time_and_no_more_often_than_its_cost_allows(turning_egg, tmp_path, takes):
    clock, made = Clock(), []
    snapshots = Snapshots(tmp_path, clock)

    def make() -> Reconstruction:
        made.append(clock.now)
        clock.now += takes
        return turning_egg.truth

    for _ in range(200):
        snapshots.offer(make)
        clock.now += 1
    between = takes + max(SECONDS_BETWEEN, takes / LARGEST_SHARE)
    assert made == pytest.approx([100 + k * between for k in range(len(made))], abs=len(made))
    assert len(made) == pytest.approx(200 / between, abs=2)
    assert len(Reconstruction.load(tmp_path, SNAPSHOT_NAME).frames) == FRAMES
    snapshots.remove()
    assert not list(tmp_path.iterdir())
    snapshots.remove()
