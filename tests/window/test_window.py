"""What only a Blender with its window shows: runs outlive editors, windows and files; pressed again, a button asks.

    VMR_BLENDER="blender" .venv-bpy-4.5/bin/python -m pytest tests/window      under a window manager, with xdotool

VMR_BLENDER is the command that starts a Blender; without it these tests are skipped. Pictures of the screen are left in
the test's folder (`--basetemp`), to be looked at.
"""

import json
import os
import shlex
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BLENDER = os.environ.get("VMR_BLENDER")
pytestmark = pytest.mark.skipif(not BLENDER, reason="VMR_BLENDER names no Blender with a window")


@pytest.fixture(scope="module")
def seen(extension_zip, tmp_path_factory):
    """What steps.py saw."""
    folder = tmp_path_factory.mktemp("window")
    for path in ("operators/fake_backend.py", "wobbling_ball.py", "window/steps.py"):
        shutil.copy(ROOT / "tests" / path, folder)
    package = shutil.copy(extension_zip, folder)
    environment = os.environ | {"BLENDER_USER_RESOURCES": str(folder / "user")}
    blender = shlex.split(BLENDER)
    subprocess.run([*blender, "--command", "extension", "install-file", "-r", "user_default", "-e", str(package)],
                   check=True, env=environment)
    subprocess.run([*blender, "--offline-mode", "--window-geometry", "0", "0", "1920", "1080",
                    "--python", str(folder / "steps.py"), "--", str(folder)], env=environment, timeout=600, check=True)
    seen = json.loads((folder / "seen.json").read_text())
    assert "error" not in seen, seen["error"]
    return seen


def test_a_run_outlives_editors_windows_and_files(seen):
    for what in ("after Esc over the viewport", "after the preferences are closed", "after its window is closed",
                 "in another file"):
        assert seen[f"goes on {what}"]


def test_a_cancelled_run_can_be_resumed(seen):
    assert seen["how it is cancelled"] == "CANCELLED" and seen["stopped run is offered"]


def test_a_result_stands_beside_the_cube_is_seen_and_is_one_step_of_undo(seen):
    assert seen["is added"] == ["walk", "walk Camera", "walk Root"]
    assert seen["is seen through its camera"] == "walk Camera"
    assert seen["undone"] == ["Camera", "Cube", "Light"] and seen["done again"]


def test_pressed_again_with_the_same_settings_it_asks(seen):
    assert seen["pressed again"] == ["CANCELLED"] and not seen["runs when pressed again"]


def test_another_clip_has_masks_and_messages_of_its_own(seen):
    assert seen["masks of the other clip"] == "" and not seen["messages of the other clip"]


def test_what_was_made_for_a_closed_file_is_offered_and_not_added_to_another(seen):
    assert seen["waits to be loaded"] == ["run"] and seen["added to the other file"] == ["Camera", "Cube", "Light"]


def test_another_blender_that_works_on_the_same_is_told_of(seen):
    assert "is active in another Blender" in seen["while another Blender works on it"]


def test_a_result_waits_until_nothing_is_moved_with_the_mouse(seen):
    assert seen["waits while something is moved"] and seen["is added once it was moved"]
