"""Stands in for the backend: a child that speaks its language and misbehaves on request.

The clip of the job's request says what to do, a comma between the things: "events,garbage,crash".
"""

import faulthandler
import json
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path


def main() -> None:
    folder = Path(sys.argv[sys.argv.index("--job") + 1])
    if "--watch-stdin" in sys.argv:
        threading.Thread(target=lambda: (sys.stdin.read(), os._exit(3)), daemon=True).start()
    for deed in json.loads((folder / "job.json").read_text(encoding="utf-8"))["clip"].split(","):
        DEEDS[deed](folder)


def say(**event) -> None:
    print(json.dumps(event), flush=True)


def events(_folder) -> None:
    for step in range(1, 4):
        say(event="progress", stage="rigid", step=step, total=3, fraction=step / 3, seconds_left=3 - step)
    say(event="warning", message="frame 7: the subject is cut off")


def garbage(_folder) -> None:
    sys.stdout.buffer.write(b'Warp 1.5 initialised\n{"half": \n[1, 2]\n"text"\n7\nnull\n\xff\xfe\n\n')
    sys.stdout.flush()


def bad_input(_folder) -> None:
    say(event="error", message="/clips/fox.mp4: found no video, needs a movie or images")
    print("/clips/fox.mp4: found no video, needs a movie or images", file=sys.stderr)
    sys.exit(2)


def crash(_folder) -> None:
    raise MemoryError("CUDA out of memory:\n  tried to allocate 2 GiB")


def fail(_folder) -> None:
    say(event="error", message="the fit diverged")
    sys.exit(1)


def killed(_folder) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def abort(_folder) -> None:
    """As a native library does."""
    faulthandler.enable()
    os.abort()


def environment(folder) -> None:
    (folder / "environment.json").write_text(json.dumps([dict(os.environ), sys.argv, sys.flags.isolated]))


def note_pid(folder) -> None:
    (folder / "pid").write_text(str(os.getpid()))


def stubborn(_folder) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def grandchild(folder) -> None:
    """It holds our standard output open, as a library's worker process does."""
    code = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    (folder / "grandchild").write_text(str(subprocess.Popen([sys.executable, "-c", code]).pid))


def torn_snapshot(folder) -> None:
    (folder / "run").mkdir()
    (folder / "run" / "snapshot.npz").write_bytes(b"PK\x03\x04")


def wait(_folder) -> None:
    say(event="progress", stage="waiting")
    time.sleep(60)


DEEDS = {deed.__name__: deed for deed in (
    events, garbage, bad_input, crash, fail, killed, abort, environment, note_pid, stubborn, grandchild,
    torn_snapshot, wait)}

if __name__ == "__main__":
    main()
