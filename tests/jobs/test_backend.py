"""Installing, finding and checking the backend's environment, with real venvs and pip and with tiny wheels."""

import json
import os
import sys
import time
from pathlib import Path

import pytest
from tiny_wheels import make_wheel, sha256
from video_mesh_reconstruction.jobs import backend
from video_mesh_reconstruction.jobs.backend import Installation, backend_python, check
from video_mesh_reconstruction.vmr_backend import install

STAND_INS = {
    "numpy": ("numpy", ""),
    "scipy": ("scipy", ""),
    "opencv-python-headless": ("cv2", ""),
    "av": ("av", ""),
    "Pillow": ("PIL", ""),
    "filelock": ("filelock", ""),
    "pycocotools": ("pycocotools", ""),
    "safetensors": ("safetensors", ""),
    "scikit-learn": ("sklearn", ""),
    "tensorboardX": ("tensorboardX", ""),
    "torch": ("torch", "class cuda:\n is_available = staticmethod(lambda: False)\nclass version:\n cuda = None\n"),
    "warp-lang": ("warp", "def init(): print('hello')\ndef get_devices(): return ['cpu']\n"),
}
"""What the backend needs, as modules that only look like it: distribution -> module, code."""


@pytest.fixture
def wheels(tmp_path):
    """A folder as the extension's wheels/: a lock file for this machine and the wheels that it names."""
    folder = tmp_path / "wheels"
    target = install.target_name()
    lines = []
    for name, (module, code) in STAND_INS.items():
        # Some machines cap PyTorch's version; all are newer than the backend needs.
        version = "2.9" if name == "torch" else "99.0"
        path = make_wheel(folder / target, name, version, module=module, code=f"__version__ = '{version}'\n{code}")
        lines.append(f"{name}=={version} --hash=sha256:{sha256(path)}\n")
    (folder / f"{target}.txt").write_text("".join(lines), encoding="utf-8")
    return folder


def run_to_end(installation, seconds=120):
    installation.start()
    events, deadline = [], time.monotonic() + seconds
    while installation.running and time.monotonic() < deadline:
        events += installation.poll()
        time.sleep(0.05)
    return events + installation.poll()


def installation_from(wheels, user_folder, online=False, *options):
    return Installation(user_folder, online, ("--wheels", str(wheels), *options))


def test_bundled_wheels_become_an_environment_that_passes_its_check_and_stays_until_another_is_whole(wheels, tmp_path):
    user_folder = tmp_path / "user folder é"
    assert backend_python("", user_folder) is None
    installation = installation_from(wheels, user_folder)
    events = run_to_end(installation)
    assert installation.error == ""
    assert events[-1].event == "done"
    fractions = [event.fraction for event in events]
    assert fractions == sorted(fractions)
    assert [e.message for e in events if e.stage == "packages" and "torch" in e.message]
    python = backend_python("", user_folder)
    assert python == Path(events[-1].message) and python.is_relative_to(user_folder)
    status = check(python)
    assert status.ok and status.devices == ["cpu"]
    assert "PyTorch 2.9" in status.lines

    # A failed one leaves it in use, and a finished one replaces it.
    torch = next((wheels / install.target_name()).glob("torch*"))
    torch.rename(tmp_path / torch.name)
    installation = installation_from(wheels, user_folder)
    events = run_to_end(installation)
    assert events[-1].event == "error"
    assert installation.error.startswith("Install Backend: pip failed") and "torch" in installation.error
    assert "\n" not in installation.error
    assert backend_python("", user_folder) == python
    assert [path for path in (user_folder / "backend").iterdir() if path.is_dir()] == [python.parents[1]]

    (tmp_path / torch.name).rename(torch)
    run_to_end(installation_from(wheels, user_folder))
    second = backend_python("", user_folder)
    assert second != python and second.exists() and not python.exists()


def test_a_wheel_that_is_not_the_locked_one_is_refused(wheels, tmp_path):
    make_wheel(wheels / install.target_name(), "torch", "2.9", code="print('something else')")
    installation = installation_from(wheels, tmp_path)
    run_to_end(installation)
    assert "differs from the one that was locked" in installation.error
    assert backend_python("", tmp_path) is None


def test_packages_that_do_not_run_are_no_backend(wheels, tmp_path):
    requirements = tmp_path / "requirements.txt"
    requirements.write_text(f"--find-links {wheels / install.target_name()}\nnumpy\n", encoding="utf-8")
    installation = installation_from(wheels, tmp_path, False, "--requirements", str(requirements))
    run_to_end(installation)
    assert "PyTorch is missing" in installation.error and "NumPy" not in installation.error
    assert backend_python("", tmp_path) is None


def test_a_requirements_file_named_in_the_environment_replaces_the_lock(tmp_path, monkeypatch):
    monkeypatch.setenv(install.REQUIREMENTS_VARIABLE, str(tmp_path / "mine.txt"))
    installation = Installation(tmp_path, online=True)
    run_to_end(installation)
    assert "mine.txt: not found" in installation.error


def test_cancel_ends_it_soon_and_leaves_nothing(wheels, tmp_path):
    installation = installation_from(wheels, tmp_path)
    installation.start()
    while not installation.poll():
        time.sleep(0.02)
    installation.cancel()
    assert not installation.running and installation.cancelled
    deadline = time.monotonic() + 20
    while any(path.is_dir() for path in (tmp_path / "backend").iterdir()) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert [path.name for path in (tmp_path / "backend").iterdir()] == [backend.LOG_NAME]
    assert backend_python("", tmp_path) is None


def test_without_bundled_wheels_and_network_one_line_says_what_to_do(tmp_path):
    lock = tmp_path / f"{install.target_name()}.txt"
    lock.write_text("torch==1.0\n", encoding="utf-8")
    installation = installation_from(tmp_path, tmp_path / "user")
    run_to_end(installation)
    assert "online access is off" in installation.error and "Preferences > System > Network" in installation.error
    lock.unlink()
    installation = installation_from(tmp_path, tmp_path / "user", True)
    run_to_end(installation)
    assert "no packages are offered for" in installation.error


def test_where_no_wheels_are_bundled_the_network_is_used_by_hash(tmp_path):
    (tmp_path / f"{install.target_name()}.txt").write_text("torch==1.0\n", encoding="utf-8")
    source = install.choose_source(online=True, wheels=tmp_path)
    assert source.options == ("--require-hashes",)


def test_a_user_folder_that_cannot_be_written_is_said(wheels, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(Exception, match="cannot be written"):
        installation_from(wheels, tmp_path / "file").start()


@pytest.mark.parametrize("said, told", [
    ("OSError: [Errno 28] No space left on device", "disk of"),
    ("Failed to establish: Temporary failure in name resolution", "cannot be reached"),
    ("HINT: ... does not have Windows Long Path support enabled", "too long for Windows"),
])
def test_common_failures_are_told_in_plain_language(said, told, tmp_path):
    assert told in install.plain_reason(said, tmp_path)


@pytest.mark.parametrize("line, message", [
    ("Collecting torch==2.13.0 (from -r lock (line 2))", "Collecting torch==2.13.0"),
    ("  Downloading torch-2.13.0-cp311-cp311-win_amd64.whl (122.0 MB)".strip(), "Downloading torch-2.13.0 (122.0 MB)"),
    ("Processing c:\\wheels\\torch-2.13.0-cp311-cp311-win_amd64.whl (from x)", "Reading torch-2.13.0"),
    ("Installing collected packages: a, b, c", "Unpacking 3 packages"),
    ("Looking in links: x", ""),
])
def test_lines_of_pip_become_messages(line, message):
    assert install.progress_message(line) == message


def test_the_named_interpreter_comes_first(tmp_path):
    assert backend_python("~/env/bin/python", tmp_path) == Path.home() / "env" / "bin" / "python"


def test_an_installation_whose_interpreter_is_gone_does_not_count(tmp_path):
    folder = tmp_path / "backend" / "abc-0"
    folder.mkdir(parents=True)
    (folder / backend.MARKER).write_text(json.dumps({"python": str(folder / "gone")}), encoding="utf-8")
    assert backend.MARKER == install.MARKER
    assert backend_python("", tmp_path) is None


def test_check_tells_of_an_interpreter_that_cannot_start_or_is_none(tmp_path):
    status = check(tmp_path / "no_python")
    assert not status.ok and "cannot be started" in status.lines[0]
    if os.name == "posix":
        script = tmp_path / "python"
        script.write_text("#!/bin/sh\necho nonsense\necho 'broken thing' >&2\n", encoding="utf-8")
        script.chmod(0o755)
        status = check(script)
        assert not status.ok and "broken thing" in status.lines[0]


def test_check_gives_up_on_an_interpreter_that_does_not_answer(tmp_path):
    status = check(Path(sys.executable), timeout=0.001)
    assert not status.ok and "no answer" in status.lines[0]
