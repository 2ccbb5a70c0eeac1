"""What a run leaves of itself now and then is read once, not too often, and only where it is whole."""

import os
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from video_mesh_reconstruction.jobs.process import Job
from video_mesh_reconstruction.jobs.snapshot import SnapshotReader
from video_mesh_reconstruction.vmr_backend.job import RUN_NAME, JobRequest
from video_mesh_reconstruction.vmr_backend.reconstruction import SNAPSHOT_NAME, Reconstruction

WORKER = Path(__file__).parent / "fake_worker.py"


def tetrahedron(height=0.5) -> Reconstruction:
    rest = np.float32([[0, 0, height], [0.5, 0, 0], [0, 0.5, 0], [-0.5, -0.5, 0]])
    faces = np.int32([[0, 1, 2], [0, 2, 3], [0, 3, 1], [1, 3, 2]])
    return Reconstruction(
        np.int32([0, 1]), np.stack([rest, rest]), rest, faces, np.zeros((4, 3, 2), np.float32),
        np.tile(np.eye(3, dtype=np.float32), (2, 1, 1)), np.float32([[0, 0, 3]] * 2),
        np.float32([[100, 100, 32, 24]] * 2), np.int32([64, 48]))


def snapshot_in(folder):
    """Where a job folder's run leaves its snapshot."""
    run = folder / RUN_NAME
    run.mkdir(exist_ok=True)
    return run / SNAPSHOT_NAME


def leave(folder, height, age=0.0):
    """A snapshot, written some seconds ago."""
    path = snapshot_in(folder)
    tetrahedron(height).save(path.parent, path.name)
    written = time.time() - age
    os.utime(path, (written, written))


def height_of(snapshot):
    return None if snapshot is None else float(snapshot.rest_vertices[0, 2])


def test_each_is_read_once_and_the_next_when_it_comes(tmp_path):
    snapshots = SnapshotReader(tmp_path, seconds_between=0)
    assert snapshots.newest() is None
    leave(tmp_path, 0.25, age=9)
    assert [height_of(snapshots.newest()) for _ in range(2)] == [0.25, None]
    leave(tmp_path, 0.75)
    assert [height_of(snapshots.newest()) for _ in range(2)] == [0.75, None]


def test_not_one_after_another(tmp_path):
    snapshots = SnapshotReader(tmp_path, seconds_between=0.4)
    leave(tmp_path, 0.25, age=9)
    assert height_of(snapshots.newest()) == 0.25
    leave(tmp_path, 0.75)
    assert snapshots.newest() is None
    time.sleep(0.5)
    assert height_of(snapshots.newest()) == 0.75


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"text", "half", "foreign"])
def test_what_is_no_snapshot_is_passed_over_until_a_whole_one_comes(tmp_path, content):
    leave(tmp_path, 0.25)
    path = snapshot_in(tmp_path)
    whole = path.read_bytes()
    if content == "foreign":
        np.savez(path, photographs=np.zeros(5))
    else:
        path.write_bytes(whole[:len(whole) // 2] if content == "half" else content)
    os.utime(path, (1e9, 1e9))
    snapshots = SnapshotReader(tmp_path, seconds_between=0)
    assert snapshots.newest() is None
    leave(tmp_path, 0.75)
    assert height_of(snapshots.newest()) == 0.75


def test_a_run_goes_on_though_its_snapshot_is_torn(tmp_path):
    JobRequest(clip="torn_snapshot,events").save(tmp_path)
    job, snapshots = Job(tmp_path, Path(sys.executable), worker=WORKER), SnapshotReader(tmp_path, seconds_between=0)
    job.start()
    end = time.monotonic() + 20
    while job.running:
        assert time.monotonic() < end and snapshots.newest() is None
        job.poll()
        time.sleep(0.01)
    assert snapshot_in(tmp_path).exists() and (job.returncode, job.error) == (0, "")
