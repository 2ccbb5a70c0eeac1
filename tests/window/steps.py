"""Run by a Blender with its window: goes through what a user does, and writes what it sees to FOLDER/seen.json.

    blender --python steps.py -- FOLDER

The extension is installed already; FOLDER holds what test_window.py puts there. Pictures of the screen go there, too,
where ImageMagick's `import` is installed.
"""

import importlib
import json
import shutil
import subprocess
import sys
import time
import traceback
from pathlib import Path

import bpy

FOLDER = Path(sys.argv[sys.argv.index("--") + 1])
MODULE = "bl_ext.user_default.video_mesh_reconstruction"
seen: dict = {}
sys.path.insert(0, str(FOLDER))
sys.modules["video_mesh_reconstruction"] = importlib.import_module(MODULE)


def module(name):
    return importlib.import_module(f"{MODULE}.{name}")


def picture(name):
    if shutil.which("import"):
        subprocess.run(["import", "-window", "root", str(FOLDER / f"{name}.png")], check=False)


def key(name):
    subprocess.run(["xdotool", "mousemove", "600", "500", "key", name], check=True)


def behave(deed):
    (FOLDER / "backend" / "deed").write_text(deed)


def runs():
    return module("properties").reconstruction_activity


def windows():
    return bpy.context.window_manager.windows


def area(kind, window=None):
    return next(one for one in (window or windows()[0]).screen.areas if one.type == kind)


def inside(kind="VIEW_3D", window=None):
    """The context of an editor."""
    window = window or windows()[0]
    place = area(kind, window)
    region = next(one for one in place.regions if one.type == "WINDOW")
    return bpy.context.temp_override(window=window, area=place, region=region, screen=window.screen)


def until(is_so, seconds=60):
    end = time.monotonic() + seconds
    while not is_so():
        if time.monotonic() > end:
            raise TimeoutError
        yield 0.2


def objects():
    return sorted(one.name for one in bpy.data.objects)


def prepare():
    from wobbling_ball import save_texture, wobbling_ball

    ball = wobbling_ball(range(3, 8), size=(640, 480), centre=(300.0, 250.0), focal=(1200.0, 1200.0))
    (FOLDER / "backend" / "result").mkdir(parents=True)
    ball.save(FOLDER / "backend" / "result")
    ball.save(FOLDER / "backend", "snapshot.npz")
    save_texture(FOLDER / "backend" / "result")
    grey = bpy.data.images.new("grey", 640, 480)
    grey.filepath_raw, grey.file_format = str(FOLDER / "grey.png"), "PNG"
    grey.save()
    bpy.data.images.remove(grey)
    for name in ("walk", "run"):
        for kind in ("", " masks"):
            (FOLDER / (name + kind)).mkdir()
            for number in range(3, 8):
                shutil.copy(FOLDER / "grey.png", FOLDER / (name + kind) / f"{number:04d}.png")
    python = FOLDER / "backend" / "python"
    python.write_text(f'#!/bin/sh\nexec python3 "{FOLDER}/fake_backend.py" "{FOLDER}/backend" "$@"\n')
    python.chmod(0o755)
    preferences = bpy.context.preferences.addons[MODULE].preferences
    preferences.backend_python, preferences.jobs_folder = str(python), str(FOLDER / "jobs")


def clip_of(name):
    clip = bpy.data.movieclips.load(str(FOLDER / name / "0003.png"), check_existing=True)
    clip.name, clip.use_fake_user = name, True
    return clip


def pressed_while_another_works():
    """What the button says while another process holds the lock of the job's folder."""
    request = module("operators.request").request_of(bpy.context, bpy.context.scene.vmr.clip)
    folder = module("jobs.folder").prepare(FOLDER / "jobs", request)
    lock = str(folder / module("vmr_backend.job").LOCK_NAME)
    code = f"import fcntl, time; file = open({lock!r}, 'w'); fcntl.flock(file, fcntl.LOCK_EX); time.sleep(60)"
    other = subprocess.Popen(["python3", "-c", code])
    yield 1.0
    try:
        with inside():
            bpy.ops.vmr.reconstruct("INVOKE_DEFAULT")
        said = ""
    except RuntimeError as error:
        said = str(error)
    other.kill()
    other.wait()
    return said


def go():
    prepare()
    walk, run = clip_of("walk"), clip_of("run")
    walk.vmr.inputs.masks = str(FOLDER / "walk masks")
    bpy.context.scene.vmr.clip = walk
    area("VIEW_3D").spaces.active.show_region_ui = True
    yield 1.0

    seen["while another Blender works on it"] = yield from pressed_while_another_works()

    behave("leave a snapshot and wait")
    with inside():
        bpy.ops.vmr.reconstruct("INVOKE_DEFAULT")
    yield from until(lambda: runs().preview is not None)
    key("Escape")
    yield 1.0
    seen["goes on after Esc over the viewport"] = runs().running
    bpy.ops.screen.userpref_show("INVOKE_DEFAULT")
    yield 1.0
    picture("preferences")
    with bpy.context.temp_override(window=windows()[-1]):
        bpy.ops.wm.window_close()
    yield 1.0
    seen["goes on after the preferences are closed"] = runs().running and len(windows()) == 1
    picture("running")
    with inside():
        bpy.ops.vmr.cancel()
    yield from until(lambda: not runs().running)
    yield 0.5
    picture("cancelled")
    seen["how it is cancelled"] = runs().last.state
    seen["stopped run is offered"] = bool(bpy.context.preferences.addons[MODULE].preferences.stopped_run(walk))
    with inside():
        bpy.ops.vmr.discard_preview()

    behave("leave a snapshot and yield the result slowly")
    with inside():
        bpy.ops.screen.area_dupli("INVOKE_DEFAULT")
    yield 1.0
    with inside(window=windows()[-1]):
        bpy.ops.vmr.reconstruct("INVOKE_DEFAULT", start_over=True)
    with bpy.context.temp_override(window=windows()[-1]):
        bpy.ops.wm.window_close()
    yield 0.5
    seen["goes on after its window is closed"] = runs().running and len(windows()) == 1
    before = objects()
    yield from until(lambda: not runs().running)
    yield 1.0
    picture("result")
    added = objects()
    seen["is added"] = sorted(set(added) - set(before) - {"walk Preview", "walk Preview Camera"})
    seen["is seen through its camera"] = bpy.context.scene.camera.name
    with inside():
        bpy.ops.ed.undo()
    seen["undone"] = objects()
    with inside():
        bpy.ops.ed.redo()
    seen["done again"] = objects() == added

    with inside():
        seen["pressed again"] = list(bpy.ops.vmr.reconstruct("INVOKE_DEFAULT"))
    yield 1.0
    picture("pressed_again")
    seen["runs when pressed again"] = runs().running
    key("Escape")
    yield 0.5
    bpy.context.scene.vmr.clip = run = bpy.data.movieclips["run"]
    yield 0.5
    picture("other_clip")
    seen["masks of the other clip"] = module("properties").inputs_of(run).masks
    seen["messages of the other clip"] = runs().ended.get(run.session_uid) is not None

    bpy.context.scene.vmr.clip = bpy.data.movieclips["walk"]
    behave("yield the result")
    key("g")
    yield 0.5
    with inside():
        bpy.ops.vmr.reconstruct("INVOKE_DEFAULT", start_over=True)
    yield from until(lambda: not runs().running or "Waiting" in runs().text)
    seen["waits while something is moved"] = runs().running and objects() == added
    picture("moving")
    key("Escape")
    yield from until(lambda: not runs().running)
    seen["is added once it was moved"] = "walk.001" in bpy.data.objects
    bpy.context.scene.vmr.clip = run

    behave("leave a snapshot and yield the result slowly")
    run.vmr.inputs.masks = str(FOLDER / "run masks")
    with inside():
        bpy.ops.vmr.reconstruct("INVOKE_DEFAULT")
    yield 0.3
    bpy.ops.wm.read_homefile()
    yield 1.0
    seen["goes on in another file"] = runs().running
    yield from until(lambda: not runs().running)
    seen["waits to be loaded"] = list(runs().waiting.values())
    seen["added to the other file"] = objects()
    area("VIEW_3D").spaces.active.show_region_ui = True
    yield 1.0
    picture("offered")


steps = go()


def drive():
    try:
        return next(steps)
    except StopIteration:
        pass
    except Exception:
        seen["error"] = traceback.format_exc()
        picture("error")
    (FOLDER / "seen.json").write_text(json.dumps(seen, indent=1))
    bpy.ops.wm.quit_blender()
    return None


bpy.context.preferences.view.show_splash = False
bpy.app.timers.register(drive, first_interval=2.0, persistent=True)
