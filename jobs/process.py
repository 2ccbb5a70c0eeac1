"""One run of the backend as a child process: start, events, cancel, result."""

from __future__ import annotations

import os
import queue
import signal
import subprocess
import sys
import threading
from pathlib import Path

from ..vmr_backend.job import EXIT_BAD_INPUT, EXIT_CANCELLED, EXIT_DONE, BadInput, Event
from ..vmr_backend.reconstruction import Reconstruction

WORKER = Path(__file__).parent.parent / "vmr_backend" / "__main__.py"
LOG_NAME = "log.txt"
SECONDS_TO_END = 1.2
"""How long a child may take to end by itself once asked to; Blender stands still meanwhile."""
LONGEST_ERROR = 400
"""Letters of a log's end that are shown; libraries write whole pages."""


class Child:
    """A command that prints events as JSON lines (`Event`) and ends when its standard input does.

    Threads only fill a queue: whoever calls `poll` now and then does so in the thread where Blender's data may be
    touched. Standard error, and lines that are no event, go to `log`.
    """

    def __init__(self, command: list[str], log: Path):
        self.command = command
        self.log = log
        self.cancelled = False
        self._process: subprocess.Popen[str] | None = None
        self._reader: threading.Thread | None = None
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._error_event = ""
        self._log_start = 0

    def start(self) -> None:
        """Start the process; BadInput where the interpreter or the log does not allow it."""
        try:
            self.log.parent.mkdir(parents=True, exist_ok=True)
            log = open(self.log, "ab")
        except OSError as error:
            raise BadInput(f"{self.log.parent}: cannot be written ({error.strerror}); choose another folder") from None
        with log:
            self._log_start = log.tell()
            try:
                self._process = subprocess.Popen(
                    self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, env=_environment(),
                    encoding="utf-8", errors="replace", bufsize=1, **_own_group())
            except OSError as error:
                raise BadInput(f"{self.command[0]}: cannot be started ({error.strerror}); needs a Python interpreter"
                               ) from None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        for line in self._process.stdout:
            self._lines.put(line)

    def poll(self) -> list[Event]:
        """The events since the last call."""
        if self._process is not None and self._process.poll() is not None:
            # Whatever the child started and left behind would hold its standard output open.
            _end_group(self._process, by_force=True)
        events = []
        while not self._lines.empty():
            line = self._lines.get()
            event = Event.parse(line)
            if event is None:
                with open(self.log, "ab") as log:
                    log.write(line.encode("utf-8"))
                continue
            if event.event == "error":
                self._error_event = event.message
            events.append(event)
        return events

    @property
    def running(self) -> bool:
        """True until the process has ended and all of its output is in the queue."""
        if self._process is None:
            return False
        return self._process.poll() is None or self._reader.is_alive()

    @property
    def returncode(self) -> int | None:
        return self._process.poll() if self._process else None

    def cancel(self) -> None:
        """End the process and all that it started, within two seconds; does nothing where it has ended."""
        if self._process is None or self._process.poll() is not None:
            return
        self.cancelled = True
        _end_group(self._process, by_force=False)
        try:
            self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            pass
        _end_group(self._process, by_force=True)
        self._process.wait()

    @property
    def error(self) -> str:
        """Why it ended without success, in one line; empty where it runs, succeeded or was cancelled."""
        status = self.returncode
        if status in (None, EXIT_DONE, EXIT_CANCELLED) or self.cancelled:
            return ""
        text = self._error_event or self._last_words() or _ending(status)
        text = " ".join(text.split())
        return text if status == EXIT_BAD_INPUT else f"{text} (more in {self.log})"

    def _last_words(self) -> str:
        """What this run's log ends with: the interpreter's own crash, a traceback's exception, else the last line."""
        with open(self.log, "rb") as log:
            log.seek(self._log_start)
            lines = [line for line in log.read().decode("utf-8", errors="replace").splitlines() if line.strip()]
        crashes = [line for line in lines if line.startswith("Fatal Python error:")]
        frames = [number for number, line in enumerate(lines) if line.startswith('  File "')]
        after = lines[frames[-1] + 1:] if frames else lines[-1:]
        exception = next((number for number, line in enumerate(after) if not line.startswith(" ")), 0)
        return " ".join(crashes[-1:] or after[exception:])[:LONGEST_ERROR]


class Job(Child):
    """A reconstruction in a job folder that holds job.json."""

    def __init__(self, folder: Path, python: Path, resume: bool = False, worker: Path = WORKER):
        command = [str(python), "-I", "-u", str(worker), "reconstruct", "--job", str(folder), "--watch-stdin"]
        super().__init__(command + ["--resume"] * resume, folder / LOG_NAME)
        self.folder = folder
        self.resume = resume

    def result(self) -> Reconstruction:
        """What the run yielded; BadInput where it yielded nothing whole."""
        return Reconstruction.load(self.folder)


def _environment() -> dict[str, str]:
    """Ours without what would lead another interpreter to Blender's own packages."""
    return {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "PYTHONHOME")}


def _own_group() -> dict:
    """Arguments of Popen that keep a console window away and let the child be ended with all that it starts."""
    if sys.platform == "win32":
        return {"creationflags": subprocess.CREATE_NO_WINDOW | subprocess.CREATE_NEW_PROCESS_GROUP}
    return {"start_new_session": True}


def _end_group(process: subprocess.Popen, by_force: bool) -> None:
    if sys.platform == "win32":
        # On Windows a process without a window cannot be asked to end.
        if process.poll() is None:
            subprocess.run(["taskkill", "/F", "/T", "/PID", str(process.pid)], capture_output=True,
                           creationflags=subprocess.CREATE_NO_WINDOW)
        return
    try:
        os.killpg(process.pid, signal.SIGKILL if by_force else signal.SIGTERM)
    except (ProcessLookupError, PermissionError):
        pass  # Nobody of the group is left; macOS raises PermissionError.


def _ending(status: int) -> str:
    """A status in words, for a process that printed no error."""
    if status == -getattr(signal, "SIGKILL", 9):
        return "the system ended the backend, often for lack of memory; try the Preview preset or a smaller crop size"
    if status < 0:
        return f"the backend crashed ({signal.Signals(-status).name})"
    return f"the backend ended without an error message (status {status if status < 256 else hex(status)})"
