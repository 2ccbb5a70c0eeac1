"""Blender 4.2 does not crash as a file is opened after a scene that owned its context was freed."""

import os
import subprocess
import sys

import pytest
from video_mesh_reconstruction.scene.context_owner import AFFECTED

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SCRIPT = """
import sys, types
import bpy
package = types.ModuleType("video_mesh_reconstruction")
package.__path__ = [sys.argv[1]]
sys.modules["video_mesh_reconstruction"] = package
from video_mesh_reconstruction.scene import context_owner

def open_file():
    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)

open_file()
bpy.context.layer_collection  # as Rigify does
open_file()                   # the scene that owns the context is freed
context_owner.register()      # the extension is enabled
for _ in range(3):
    open_file()
    assert bpy.context.id_data == bpy.context.scene
bpy.context.window.scene = bpy.context.scene  # as the exporter of glTF does
sys.stdout.write("all files were opened")
sys.stdout.flush()
__import__("os")._exit(0)
"""


@pytest.mark.skipif(not AFFECTED, reason="fixed in this Blender")
def test_files_are_opened_after_a_scene_that_owned_the_context_was_freed():
    # What is freed is overwritten, so that whatever still reads it crashes at once.
    environment = os.environ | {"PYTHONMALLOC": "malloc", "MALLOC_PERTURB_": "165"}
    done = subprocess.run([sys.executable, "-c", SCRIPT, ROOT], capture_output=True, text=True, env=environment)
    assert (done.returncode, done.stdout.endswith("all files were opened")) == (0, True), done.stdout + done.stderr
