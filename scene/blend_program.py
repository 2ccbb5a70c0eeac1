"""Run by a Blender, or a Python with bpy, in a process of its own: opens a .blend and renders images of it.

    blender -b --factory-startup --python blend_program.py -- dataset|frames FILE.blend OUT REQUEST
    python blend_program.py -- dataset|frames FILE.blend OUT REQUEST

REQUEST is a JSON object: `object` and the fields of `CollectionRequest` (studio/dataset.py), or the fields of `Shown`
(shown_frames.py). Events are JSON lines (`job.Event`) on standard output; it ends when standard input does. Started by
`python -m vmr_backend render-dataset` and by jobs/frames.py.
"""

import importlib
import json
import os
import sys
import threading
import traceback
from pathlib import Path
from types import ModuleType

EXTENSION = Path(__file__).resolve().parent.parent
PACKAGE = "video_mesh_reconstruction_apart"
"""The extension's modules, imported here without registering it; Blender may have it under another name."""


def module(name: str) -> ModuleType:
    if PACKAGE not in sys.modules:
        package = ModuleType(PACKAGE)
        package.__path__ = [str(EXTENSION)]
        sys.modules[PACKAGE] = package
    return importlib.import_module(f"{PACKAGE}.{name}")


def main(arguments: list[str]) -> int:
    threading.Thread(target=_end_with_standard_input, daemon=True).start()
    job = module("vmr_backend.job")
    try:
        import bpy
    except ImportError:
        print(job.Event("error", message=f"{sys.executable}: found no bpy in it; needs Blender, or a Python with bpy")
              .line(), flush=True)
        return job.EXIT_BAD_INPUT
    work, file, folder, request = arguments[0], Path(arguments[1]), Path(arguments[2]), json.loads(arguments[3])
    folder.mkdir(parents=True, exist_ok=True)
    log = job.EventLog(folder)
    try:
        _open(bpy, file)
        {"dataset": _render_dataset, "frames": _render_frames}[work](bpy, log, folder, request)
        log.write(job.Event("done", fraction=1.0, message=str(folder)))
        return job.EXIT_DONE
    except job.BadInput as error:
        log.write(job.Event("error", message=str(error)))
        return job.EXIT_BAD_INPUT
    except Exception as error:
        traceback.print_exc()
        log.write(job.Event("error", message=f"{type(error).__name__}: {' '.join(str(error).split())}"))
        return job.EXIT_FAILED


def _open(bpy, file: Path) -> None:
    try:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        bpy.ops.wm.open_mainfile(filepath=str(file), load_ui=False, use_scripts=False)
    except RuntimeError as error:
        raise module("vmr_backend.job").BadInput(
            f"{file}: cannot be opened ({str(error).strip()}); needs a .blend file of this Blender or an older one"
        ) from None


def _render_dataset(bpy, log, folder: Path, request: dict) -> None:
    if bpy.context.object is not None and bpy.context.object.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    dataset, subjects = module("scene.studio.dataset"), module("scene.studio.subject")
    name = request.pop("object")
    if (chosen := bpy.data.objects.get(name)) is None:
        known = sorted(one.name for one in bpy.data.objects if one.type in {"MESH", "ARMATURE", "EMPTY"})
        raise module("vmr_backend.job").BadInput(
            f"object: found no {name!r} in {Path(bpy.data.filepath).name}; needs one of "
            f"{', '.join(known[:8]) or 'its objects, of which it has none'}" + " ..." * (len(known) > 8))
    subject = subjects.subject_of(chosen)
    if not subjects.is_upright(subject):
        log.warning(f"{subject.root.name}: its own Z axis does not point up; apply its rotation (Ctrl A) to "
                    "make the model upright")

    def progress(done: int, total: int, kept: int) -> None:
        log.plan({"kept": kept, "rendering": max(total, 1e-6)})
        log.progress("rendering", done, total)

    request["keypoints"] = tuple(request["keypoints"])
    dataset.render_dataset(subject, dataset.CollectionRequest(**request), folder, progress)


def _render_frames(bpy, log, folder: Path, request: dict) -> None:
    shown_frames = module("scene.shown_frames")
    log.plan({"rendering": 1.0})
    shown_frames.render_shown(shown_frames.Shown(**request), folder,
                              lambda done, total: log.progress("rendering", done, total))


def _end_with_standard_input() -> None:
    while os.read(0, 4096):
        pass
    os._exit(3)


if __name__ == "__main__":
    status = main(sys.argv[sys.argv.index("--") + 1:])
    sys.stdout.flush()
    sys.stderr.flush()
    # Not sys.exit: after a rendering Blender 4.2 as a module crashes there, and 4.5 hangs.
    os._exit(status)
