"""How a command runs as a process: events on the way, an exit status, an end when whoever started it is gone."""

from __future__ import annotations

import os
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from .job import EXIT_BAD_INPUT, EXIT_CANCELLED, EXIT_DONE, EXIT_FAILED, BadInput, Cancelled, Event, EventLog


def carry_out(folder: Path, work: Callable[[EventLog], None], stream: TextIO | None = None, done: str = "") -> int:
    """Do some work in a folder, reporting by events; returns the exit status.

    done  message of the last event; the folder where this is empty
    """
    log = EventLog(folder, stream)
    try:
        work(log)
        log.write(Event("done", fraction=1.0, message=done or str(folder)))
        return EXIT_DONE
    except BadInput as error:
        log.write(Event("error", message=_noted(str(error), error)))
        return refuse(_noted(str(error), error))
    except (KeyboardInterrupt, Cancelled):
        log.write(Event("error", message="stopped by the user; --resume goes on"))
        return EXIT_CANCELLED
    except ImportError as error:
        log.write(Event("error", message=lacking(error)))
    except Exception as error:
        traceback.print_exc()
        log.write(Event("error", message=_noted(_plain(error), error)))
    return EXIT_FAILED


def lacking(error: ImportError) -> str:
    return f"the backend lacks {error.name or error}; `doctor` tells what to install"


def _plain(error: Exception) -> str:
    """One line for an artist; the traceback is in the log."""
    text = str(error).strip().splitlines()[0] if str(error).strip() else ""
    if isinstance(error, MemoryError) or "out of memory" in text.lower():
        return f"out of memory; a lower crop size or mesh level, or fewer frames per iteration, needs less ({text})"
    if isinstance(error, OSError) and error.filename:
        return f"{error.filename}: {error.strerror}"
    return f"{type(error).__name__}: {text}"


def _noted(line: str, error: Exception) -> str:
    """The line, and what was noted on the error on its way."""
    return "; ".join([line, *getattr(error, "__notes__", [])])


def stop_with_standard_input(first: Callable[[], None] = lambda: None) -> None:
    """End this process, `first` what it started, when whoever started it is gone, however it went."""

    def watch() -> None:
        # Not through sys.stdin: Python aborts at its end where a thread holds that one's lock.
        while os.read(0, 4096):
            pass
        first()
        os._exit(EXIT_CANCELLED)

    threading.Thread(target=watch, daemon=True).start()


def refuse(line: str) -> int:
    """Say in one line why nothing was done; returns the exit status."""
    print(line, file=sys.stderr)
    return EXIT_BAD_INPUT
