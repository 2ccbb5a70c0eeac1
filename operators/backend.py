"""Install Backend and Check Backend: the Python environment that computes."""

import threading

import bpy

from ..jobs.backend import Installation, check
from ..preferences import interpreter, preferences, user_folder
from ..properties import backend_activity
from ..vmr_backend.job import BadInput
from .runs import Run, StartsRun

BUSY = "The backend is being installed or checked"


class Installing(Run):
    """Makes the environment."""

    label = "Install Backend"
    activity = backend_activity
    cancelled_text = "Installation cancelled"
    changes_file = False

    def begin(self, _context):
        installation = Installation(user_folder(), bpy.app.online_access)
        installation.start()
        return installation

    def finish(self, _context, _installation):
        preferences().backend_python = ""
        return "Backend installed"


class CheckingBackend(Run):
    """Asks the environment."""

    label = "Check Backend"
    activity = backend_activity
    cancelled_text = "Check cancelled"
    changes_file = False

    def begin(self, _context):
        checking = Checking(interpreter())
        checking.start()
        return checking

    def finish(self, _context, checking):
        status = checking.status
        *self.found, verdict = status.lines
        preferences().found_devices = ";".join(status.devices)
        if not status.ok:
            raise BadInput(next((line for line in status.lines if line.startswith("Problem")), verdict))
        return verdict.rstrip(".")


class VMR_OT_install_backend(StartsRun, bpy.types.Operator):
    """Make a Python environment with PyTorch in the extension's own folder; needs about 2 GB, with CUDA 10 GB"""

    bl_idname = "vmr.install_backend"
    bl_label = "Install Backend"

    def new_run(self):
        return Installing()

    @classmethod
    def obstacle(cls, _context):
        return BUSY if backend_activity.running else ""


class VMR_OT_check_backend(StartsRun, bpy.types.Operator):
    """Ask the backend's Python what it has, and find the devices to compute on"""

    bl_idname = "vmr.check_backend"
    bl_label = "Check Backend"

    def new_run(self):
        return CheckingBackend()

    @classmethod
    def obstacle(cls, _context):
        if interpreter() is None:
            return "Install the backend first, or name its Python in the preferences"
        return BUSY if backend_activity.running else ""


class Checking:
    """A check in a thread, with the ways of a child process: PyTorch takes seconds to start."""

    error = ""

    def __init__(self, python):
        self.status = None
        self._python = python
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self):
        self._thread.start()

    def _run(self):
        self.status = check(self._python)

    def poll(self):
        return []

    @property
    def running(self):
        return self._thread.is_alive() and not self._abandoned

    _abandoned = False

    def cancel(self):
        """The check itself ends by its own time limit; nobody waits for it."""
        self._abandoned = True
