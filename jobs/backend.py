"""The backend's own Python environment: find it, check it, install it."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

from .process import Child

EXTENSION = Path(__file__).resolve().parent.parent
MARKER = "installed.json"
"""What vmr_backend/install.py writes last into an environment; it names the interpreter."""
LOG_NAME = "install.log"
RUN_MODULE = ("import runpy, sys; sys.path.append(sys.argv.pop(1)); "
              "runpy.run_module(sys.argv.pop(1), run_name='__main__', alter_sys=True)")
"""Runs a module of the extension in an isolated interpreter (-I), which finds only its own packages."""


@dataclass(frozen=True)
class Status:
    """Whether a Python can be the backend's."""

    ok: bool
    lines: list[str]
    """For people: versions, devices, what is missing and what to do."""
    devices: list[str]
    """As the device setting takes them: cpu, cuda:0."""


def backend_python(preference: str, user_folder: Path) -> Path | None:
    """The interpreter that the user named, else that of the newest finished installation, else None."""
    if preference.strip():
        return Path(preference.strip()).expanduser()
    markers = sorted(environments(user_folder).glob(f"*/{MARKER}"), key=lambda marker: marker.stat().st_mtime)
    for marker in reversed(markers):
        python = Path(json.loads(marker.read_text(encoding="utf-8"))["python"])
        if python.is_file():
            return python
    return None


def environments(user_folder: Path) -> Path:
    return Path(user_folder) / "backend"


def check(python: Path, timeout: float = 120) -> Status:
    """Ask an interpreter whether it can run the backend. Where it cannot answer, the line reports why."""
    command = [str(python), "-I", "-c", RUN_MODULE, str(EXTENSION), "vmr_backend.doctor", "--json"]
    no_window = getattr(subprocess, "CREATE_NO_WINDOW", 0)  # Windows only
    try:
        run = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=timeout, encoding="utf-8",
                             errors="replace", creationflags=no_window)
    except OSError as error:
        return Status(False, [f"{python}: cannot be started ({error.strerror}); name a Python 3.11 or newer in the "
                              "preferences, or press Install Backend"], [])
    except subprocess.TimeoutExpired:
        return Status(False, [f"{python}: no answer within {timeout:.0f} s; try once more, or install it anew"], [])
    try:
        answer = json.loads(run.stdout.splitlines()[-1])
        return Status(answer["ok"], answer["lines"], [device["name"] for device in answer["devices"]])
    except (IndexError, ValueError, KeyError, TypeError):
        answer = (run.stderr.strip().splitlines() or [f"exit status {run.returncode}"])[-1]
        return Status(False, [f"{python}: cannot run the backend's check ({answer}); name a Python 3.11 or newer in "
                              "the preferences, or press Install Backend"], [])


class Installation(Child):
    """Makes an environment in the user's folder: bundled wheels first, the network (by hash) only if `online`.

    An earlier environment stays in use until the new one is finished.
    """

    def __init__(self, user_folder: Path, online: bool, options: tuple[str, ...] = ()):
        """`options` are further ones of vmr_backend/install.py."""
        self.folder = environments(user_folder)
        command = [sys.executable, "-I", "-u", "-c", RUN_MODULE, str(EXTENSION), "vmr_backend.install",
                   "--folder", str(self.folder), "--watch-stdin", *["--online"] * online, *options]
        super().__init__(command, self.folder / LOG_NAME)

    def cancel(self) -> None:
        """End it within two seconds; what was made is removed in the background, for it can be gigabytes."""
        super().cancel()
        if self.cancelled:
            threading.Thread(target=self._remove_unfinished, daemon=True).start()

    def _remove_unfinished(self) -> None:
        for folder in self.folder.iterdir():
            if folder.is_dir() and not (folder / MARKER).exists():
                shutil.rmtree(folder, ignore_errors=True)
