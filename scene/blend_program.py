"""Run by a Blender, or a Python with bpy, in a process of its own: opens a file, renders images of it or reads a rig.

    blender -b --factory-startup --python blend_program.py -- dataset|frames|template FILE OUT REQUEST
    python blend_program.py -- dataset|frames|template FILE OUT REQUEST

FILE is a .blend; or a .glb, .gltf or .fbx, which is imported. REQUEST is a JSON object: `object` and the fields of
`CollectionRequest` (studio/dataset.py); the fields of `Shown` (shown_frames.py); or `object`, empty for the only one,
`front` (template.py) and `file`, the name of FILE. Events are JSON lines (`job.Event`) on standard output; it ends when
standard input does. Started by `python -m vmr_backend render-dataset` and `template`, and by jobs/frames.py.
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
        {"dataset": _render_dataset, "frames": _render_frames, "template": _read_rig}[work](bpy, log, folder, request)
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
    """Open a .blend, or import what another program wrote into an empty file."""
    ending = file.suffix.lower()
    try:
        bpy.ops.wm.read_factory_settings(use_empty=True)
        if ending in (".glb", ".gltf"):
            done = bpy.ops.import_scene.gltf(filepath=str(file))
        elif ending == ".fbx":
            # Blender's own importer came with 4.5, beside the one in Python.
            importer = bpy.ops.wm.fbx_import if "fbx_import" in dir(bpy.ops.wm) else bpy.ops.import_scene.fbx
            done = importer(filepath=str(file))
        else:
            done = bpy.ops.wm.open_mainfile(filepath=str(file), load_ui=False, use_scripts=False)
        reason = "" if "FINISHED" in done else "Blender reads nothing in it"
    except RuntimeError as error:
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        # Of a traceback, the line that says why.
        reason = next((line for line in lines[1:] if line.split(":")[0].endswith(("Error", "Exception"))), lines[0])
    if reason:
        needed = f"whole {ending} file" if ending in (".glb", ".gltf", ".fbx") else \
            ".blend file of this Blender or an older one"
        raise module("vmr_backend.job").BadInput(f"{file}: cannot be opened ({reason}); needs a {needed}")


def _chosen(bpy, name: str):
    """The object of a name; BadInput names what there is."""
    if (chosen := bpy.data.objects.get(name)) is None:
        known = sorted(one.name for one in bpy.data.objects if one.type in {"MESH", "ARMATURE", "EMPTY"})
        raise module("vmr_backend.job").BadInput(
            f"object: found no {name!r} in {Path(bpy.data.filepath).name or 'the file'}; needs one of "
            f"{', '.join(known[:8]) or 'its objects, of which it has none'}" + " ..." * (len(known) > 8))
    return chosen


def _render_dataset(bpy, log, folder: Path, request: dict) -> None:
    if bpy.context.object is not None and bpy.context.object.mode != "OBJECT":
        bpy.ops.object.mode_set(mode="OBJECT")
    dataset, subjects = module("scene.studio.dataset"), module("scene.studio.subject")
    subject = subjects.subject_of(_chosen(bpy, request.pop("object")))
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


def _read_rig(bpy, log, folder: Path, request: dict) -> None:
    template = module("scene.template")
    name = request["object"]
    rigged = template.rigged_object(_chosen(bpy, name)) if name else template.only_rigged_object(request["file"])
    path = folder / module("vmr_backend.templates.rig_file").RIG_NAME
    for warning in template.save_rig(path, rigged, request["front"])["warnings"]:
        log.warning(warning)


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
