"""Job folders whose footage is gone are removed, after it was shown which."""

import shutil
from pathlib import Path

import bpy


def test_lost_jobs_are_removed_and_others_stay(extension, backend, footage, tmp_path):
    bpy.ops.vmr.reconstruct()
    (kept,) = (tmp_path / "jobs").iterdir()
    lost = shutil.copytree(kept, kept.with_name("gone-0123456789"))
    job = lost / "job.json"
    job.write_text(job.read_text().replace(str(Path(footage.filepath).parent), str(tmp_path / "gone")))
    assert bpy.ops.vmr.remove_old_jobs() == {"FINISHED"}
    assert list((tmp_path / "jobs").iterdir()) == [kept]
