"""Stands in for the backend's interpreter: `fake_backend.py FOLDER -I -u .../__main__.py reconstruct --job JOB ...`.

FOLDER/deed says what to do, FOLDER/result holds what a run yields. Pictures are rendered in earnest; of a training only
what it says and leaves is there.
"""

import json
import os
import shutil
import sys
import time
from pathlib import Path

folder = Path(sys.argv[1])
deed = (folder / "deed").read_text()
with open(folder / "calls", "a") as calls:
    calls.write(json.dumps(sys.argv[2:]) + "\n")

if "--json" in sys.argv:
    devices = [{"name": "cpu"}, {"name": "cuda:0"}]
    print(json.dumps({"ok": deed != "lack torch", "devices": devices, "lines": [
        "Python 3.11", "Problem: PyTorch is missing: press Install Backend.", "The backend cannot run with this Python."
    ] if deed == "lack torch" else ["Python 3.11", "The backend is ready."]}))
    sys.exit(0)

if "render-dataset" in sys.argv:
    os.execv(sys.executable, [sys.executable, *sys.argv[2:]])

if "train" in sys.argv:
    out = Path(sys.argv[sys.argv.index("--out") + 1])
    out.mkdir(parents=True, exist_ok=True)
    print(json.dumps({"event": "progress", "stage": "network", "step": 1, "total": 2, "fraction": 0.5}), flush=True)
    if deed == "wait":
        time.sleep(60)
    if deed == "stop with a checkpoint":
        (out / "checkpoint.json").write_text("{}")
        sys.exit("RuntimeError: out of memory")
    collection = json.loads((Path(sys.argv[sys.argv.index("train") + 1]) / "annotations.json").read_text())
    facts = {"category": collection["categories"][0]["name"], "scores": json.dumps({"IoU": 0.91, "PCK": 0.875})}
    tensor = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}
    header = json.dumps({"__metadata__": facts, "mean": tensor}).encode()
    tensors = bytes(4) if deed != "yield half a result" else b""
    (out / "model.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + tensors)
    sys.exit(0)

job = Path(sys.argv[sys.argv.index("--job") + 1])


def begin_run() -> Path:
    """The run's own folder."""
    run = job / "run"
    run.mkdir(exist_ok=True)
    shutil.copy(job / "job.json", run)
    return run


def leave_snapshot() -> None:
    """Whole, as the real one does: Blender may look at any moment."""
    run = begin_run()
    shutil.copy(folder / "snapshot.npz", run / "part")
    os.replace(run / "part", run / "snapshot.npz")


def yield_result() -> None:
    shutil.copytree(folder / "result", job, dirs_exist_ok=True)
    shutil.rmtree(job / "run", ignore_errors=True)


if "segment" in sys.argv:
    print(json.dumps({"event": "progress", "stage": "finding", "step": 1, "total": 2, "fraction": 0.5}), flush=True)
    if deed == "wait":
        time.sleep(60)
    if deed == "refuse the masks":
        print("box 1,2,3,4: lies outside the frame", file=sys.stderr)
        sys.exit(2)
    request = json.loads((job / "segment.json").read_text())
    numbers = range(request["first"], request["last"] + 1)
    (job / "masks").mkdir(exist_ok=True)
    for number in numbers:
        (job / "masks" / f"{number:06d}.png").write_bytes(b"")
    (job / "masks.json").write_text(json.dumps({
        "confidence": {str(number): 0.9 for number in numbers}, "marked": [request["first"]],
        "doubts": {str(number): ["the mask is unsure", "dark"] for number in list(numbers)[2:4]}}))
    sys.exit(0)

print(json.dumps({"event": "progress", "stage": "rigid", "step": 1, "total": 2, "fraction": 0.5, "seconds_left": 65}),
      flush=True)
if deed == "yield the result":
    print(json.dumps({"event": "warning", "message": "frame 5: the subject is cut off"}), flush=True)
    yield_result()
elif deed == "yield half a result":
    shutil.copytree(folder / "result", job, dirs_exist_ok=True)
    archive = job / "reconstruction.npz"
    archive.write_bytes(archive.read_bytes()[:5000])
elif deed == "refuse the masks":
    print("masks: all are empty, needs white where the subject is", file=sys.stderr)
    sys.exit(2)
elif deed == "stop with a checkpoint":
    (begin_run() / "checkpoint.json").write_text("{}")
    sys.exit("RuntimeError: out of memory")
elif deed == "leave a snapshot and wait":
    leave_snapshot()
    print(json.dumps({"event": "progress", "stage": "coarse", "fraction": 0.6}), flush=True)
    time.sleep(60)
elif deed == "leave a snapshot and fail":
    leave_snapshot()
    time.sleep(0.5)
    sys.exit("RuntimeError: out of memory")
elif deed.startswith("leave a snapshot and yield the result"):
    leave_snapshot()
    time.sleep(5 if deed.endswith("slowly") else 0.5)
    yield_result()
elif deed.startswith("yield the result and draw"):
    if "--resume" not in sys.argv:
        leave_snapshot()
        time.sleep(0.5)
        yield_result()
        print(json.dumps({"event": "result", "message": str(job)}), flush=True)
    print(json.dumps({"event": "progress", "stage": "pictures", "step": 1, "total": 2, "fraction": 0.98}), flush=True)
    if deed.endswith("forever"):
        time.sleep(60)
    time.sleep(0.5)
    if deed.endswith("in vain"):
        print(json.dumps({"event": "error", "message": "walk: no such folder; the result is whole"}), flush=True)
        sys.exit(2)
    for name in ("overlay.mp4", "preview.png"):
        (job / name).write_bytes(b"")
elif deed == "wait":
    time.sleep(60)
