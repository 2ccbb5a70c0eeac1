"""The house stays as it was built: who may import whom, and every file says in a sentence what lives there."""

import ast
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
BLENDER = {"bpy", "bpy_extras", "bpy_types", "mathutils", "bmesh", "gpu", "gpu_extras", "blf", "aud", "imbuf", "idprop",
           "addon_utils", "bl_ui", "bl_operators", "rna_prop_ui", "_bpy"}
ROOT_FILES = {"__init__", "preferences", "properties"}
BLENDER_SIDE = {"operators", "panels", "scene", "jobs"} | ROOT_FILES
"""What runs inside Blender's process, with vmr_backend's light modules."""
LIGHT = {"vmr_backend", "vmr_backend.settings", "vmr_backend.job", "vmr_backend.reconstruction",
         "vmr_backend.annotations", "vmr_backend.methods", "vmr_backend.segmentation",
         "vmr_backend.segmentation.marks", "vmr_backend.templates", "vmr_backend.templates.rig_file",
         "vmr_backend.templates.rigify"}
MAY_IMPORT = {
    "__init__": {"operators", "panels", "preferences", "properties"},
    "preferences": {"jobs", "panels", "properties", "scene"},
    "properties": {"vmr_backend"},
    "operators": {"operators", "scene", "jobs", "preferences", "properties", "vmr_backend"},
    "panels": {"panels", "properties"},
    "scene": {"scene", "vmr_backend"},
    "jobs": {"jobs", "vmr_backend"},
    "vmr_backend": {"vmr_backend"},
}
METHODS = {"lasr", "vmr", "template"}
ENTRANCES = {"__main__", "cli", "reconstruct", "run", "methods"}
"""What starts a method; everything else in vmr_backend is below the methods."""
ABOVE = {"training": {"vmr"}, "benchmarks": {"vmr"}}
"""What trains a method's models, and what times that."""
REGISTRY = "methods"
"""Imported from everywhere, and imports a method only where that starts."""
LEVELS = [ENTRANCES - {REGISTRY} | {"training", "benchmarks"}, METHODS, {"bodies"}, {"fitting"}]
"""Rooms of vmr_backend from above; all others are below these. Rooms may be missing."""
SHARED_BY_BODIES = {"kinematics", "time_networks"}


def python_files():
    folders = ["operators", "panels", "scene", "jobs", "vmr_backend", "wheels", "demo", "samples", "benchmarks",
               "tests"]
    return sorted([*ROOT.glob("*.py"), *(path for folder in folders for path in (ROOT / folder).rglob("*.py"))])


def product_files():
    return [path for path in python_files() if place_of(path)[0] in MAY_IMPORT]


def files_of_backend():
    return [path for path in product_files() if place_of(path)[0] == "vmr_backend"]


def name(path):
    return path.relative_to(ROOT).as_posix()


def place_of(path):
    """A file as the parts of its module's name, below the root."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts


def imports_at_top(path):
    """Modules of the project that a file imports as it is imported itself."""
    return imports_of(path, [node for node in ast.parse(path.read_text(encoding="utf-8")).body
                             if isinstance(node, ast.ImportFrom)])[1]


def imports_of(path, nodes=None):
    """Modules that a file imports: (those from outside, dotted), (those of the project, dotted from the root)."""
    outside, inside = set(), set()
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))) if nodes is None else nodes:
        if isinstance(node, ast.Import):
            outside |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            outside.add(node.module)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] + tuple((node.module or "").split(".")) * bool(node.module)
            inside |= {module_named(base, alias.name) for alias in node.names}
    return outside, inside


def module_named(base, imported):
    """`from base import imported`: the submodule where there is one, else the module that holds the name."""
    path = ROOT.joinpath(*base, imported)
    return ".".join((*base, imported) if path.is_dir() or path.with_suffix(".py").is_file() else base)


def roots(modules):
    return {module.split(".")[0] for module in modules}


def test_every_file_opens_with_a_sentence():
    assert not [name(path) for path in python_files() if not says_what_lives_there(path)]


def says_what_lives_there(path):
    """An empty __init__.py says nothing; it is left out."""
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return any(mark in docstring for mark in (". ", ".\n", ":\n", "; ")) or docstring.endswith((".", "!"))


def offences(files, allowed):
    """What files import that they may not: {file: modules}.

    allowed  of a file's place, its imports from outside and those from inside: what of these it may not
    """
    found = {name(path): allowed(place_of(path), *imports_of(path)) for path in files}
    return {path: modules for path, modules in found.items() if modules}


def test_imports_go_one_way():
    def not_allowed(place, _, inside):
        upward = roots(inside) - MAY_IMPORT[place[0]]
        if place[0] not in BLENDER_SIDE:
            return upward
        # Blender's process imports only the light modules of vmr_backend.
        return upward | {module for module in inside if module.startswith("vmr_backend")} - LIGHT

    assert not offences(product_files(), not_allowed)


def test_what_is_imported_from_outside_is_there_where_it_runs():
    def not_there(place, outside, _):
        found = roots(outside) - set(sys.stdlib_module_names)
        if place[0] == "jobs" or ".".join(place) in LIGHT | {"vmr_backend.install", "vmr_backend.doctor"}:
            return found - {"numpy"}
        return found - {"numpy"} - BLENDER if place[0] in BLENDER_SIDE else found & BLENDER

    assert not offences(product_files(), not_there)


def test_the_methods_share_what_is_below_them_and_nothing_else():
    def of_others(place, _, inside):
        room = (place[1:] or ("",))[0]
        used = {module.split(".")[1] for module in inside if module.count(".")} & METHODS
        return used - (METHODS if room in ENTRANCES else ABOVE.get(room, {room}))

    assert not offences(files_of_backend(), of_others)


def test_methods_bodies_and_the_fitter_import_downwards():
    level_of = {room: level for level, rooms in enumerate(LEVELS) for room in rooms}

    def upward(place, _, inside):
        here = level_of.get((place[1:] or ("",))[0], len(LEVELS))
        return {module for module in inside if level_of.get((*module.split("."), "")[1], len(LEVELS)) < here}

    assert not offences([path for path in files_of_backend() if place_of(path)[1:] != (REGISTRY,)], upward)


def test_bodies_share_their_kinematics_and_nothing_else():
    def of_others(place, _, inside):
        bodies = {module for module in inside if module.startswith("vmr_backend.bodies.")}
        return {module for module in bodies if module.split(".")[2] not in SHARED_BY_BODIES | {place[-1]}}

    assert not offences([path for path in files_of_backend() if place_of(path)[1:2] == ("bodies",)], of_others)


def test_segmentation_stands_beside_reading_footage():
    """It reads clips as fits do; whoever reads them or fits anything works with masks that are there."""
    def across(place, _, inside):
        used = {(*module.split("."), "")[1] for module in inside}
        return used & (METHODS | {"bodies", "fitting"} if place[1] == "segmentation" else {"segmentation"})

    rooms = {"segmentation", "video", "bodies", "fitting"}
    assert not offences([path for path in files_of_backend() if set(place_of(path)[1:2]) & rooms], across)


def test_light_modules_import_heavy_ones_only_where_they_use_them():
    """At their top they import each other alone: else Blender's process would import PyTorch with them."""
    light = [path for path in files_of_backend() if ".".join(place_of(path)) in LIGHT]
    found = {name(path): {module for module in imports_at_top(path) if module.startswith("vmr_backend")} - LIGHT
             for path in light}
    assert not {path: modules for path, modules in found.items() if modules}


def test_benchmarks_stand_outside_the_backend():
    files = [path for path in python_files() if place_of(path)[0] == "benchmarks"]
    assert not offences(files, lambda _, outside, inside: (
        roots(inside) - {"benchmarks"} | roots(outside) - set(sys.stdlib_module_names)
        - {"numpy", "vmr_backend"}))
    private = [alias.name for path in files for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
               if isinstance(node, ast.ImportFrom) for alias in node.names if alias.name.startswith("_")]
    assert not private, "only what other files may use"


def test_no_room_is_called_utils():
    assert not [path for path in python_files() if {"utils", "helpers", "misc", "common"} & set(place_of(path))]
