"""The house stays as it was built: who may import whom, and every file says in a sentence what lives there."""

import ast
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
BLENDER = {"bpy", "bpy_extras", "bpy_types", "mathutils", "bmesh", "gpu", "gpu_extras", "blf", "aud", "imbuf", "idprop",
           "addon_utils", "bl_ui", "bl_operators", "rna_prop_ui", "_bpy"}
ROOT_FILES = {"__init__", "preferences", "properties"}
BLENDER_SIDE = {"operators", "panels", "scene", "jobs"} | ROOT_FILES
"""What runs inside Blender's process, with vmr_backend's light modules."""
LIGHT = {"vmr_backend", "vmr_backend.settings", "vmr_backend.job", "vmr_backend.reconstruction",
         "vmr_backend.annotations", "vmr_backend.marks"}
MAY_IMPORT = {
    "__init__": {"operators", "panels", "preferences", "properties"},
    "preferences": {"jobs", "panels", "properties"},
    "properties": {"vmr_backend"},
    "operators": {"operators", "scene", "jobs", "preferences", "properties", "vmr_backend"},
    "panels": {"panels", "properties"},
    "scene": {"scene", "vmr_backend"},
    "jobs": {"jobs", "vmr_backend"},
    "vmr_backend": {"vmr_backend"},
}
METHODS = {"lasr", "vmr"}
ENTRANCES = {"__main__", "cli", "run"}
"""What starts a method; everything else in vmr_backend is below the methods."""
ABOVE = {"training": {"vmr"}, "benchmarks": {"vmr"}}
"""What teaches a method's models, and what times that."""


def python_files():
    folders = ["operators", "panels", "scene", "jobs", "vmr_backend", "wheels", "demo", "samples", "benchmarks",
               "tests"]
    return sorted([*ROOT.glob("*.py"), *(path for folder in folders for path in (ROOT / folder).rglob("*.py"))])


def product_files():
    return [path for path in python_files() if place_of(path)[0] in MAY_IMPORT]


def name(path):
    return path.relative_to(ROOT).as_posix()


def place_of(path):
    """A file as the parts of its module's name, below the root."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts


def imports_of(path):
    """Modules that a file imports: (those from outside, dotted), (those of the project, dotted from the root)."""
    outside, inside = set(), set()
    package = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
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


@pytest.mark.parametrize("path", python_files(), ids=name)
def test_every_file_opens_with_a_sentence(path):
    text = path.read_text(encoding="utf-8")
    if path.name == "__init__.py" and not text.strip():
        pytest.fail("an empty __init__.py says nothing; leave it out or say what lives in the folder")
    docstring = ast.get_docstring(ast.parse(text))
    assert docstring, "has no docstring that says what lives here"
    assert any(mark in docstring for mark in (". ", ".\n", ":\n", "; ")) or docstring.endswith((".", "!")), docstring


@pytest.mark.parametrize("path", product_files(), ids=name)
def test_imports_go_one_way(path):
    place = place_of(path)
    _, inside = imports_of(path)
    assert roots(inside) <= MAY_IMPORT[place[0]]
    if place[0] in BLENDER_SIDE:
        of_backend = {module for module in inside if module.startswith("vmr_backend")}
        assert of_backend <= LIGHT, "Blender's process imports only the light modules of vmr_backend"


@pytest.mark.parametrize("path", product_files(), ids=name)
def test_what_is_imported_from_outside_is_there_where_it_runs(path):
    place = place_of(path)
    outside = roots(imports_of(path)[0]) - set(sys.stdlib_module_names)
    if place[0] == "jobs":
        assert outside <= {"numpy"}
    elif place[0] in BLENDER_SIDE:
        assert outside <= {"numpy"} | BLENDER
    elif ".".join(place) in LIGHT | {"vmr_backend.install", "vmr_backend.doctor"}:
        assert outside <= {"numpy"}
    else:
        assert not outside & BLENDER, "vmr_backend runs without Blender"


@pytest.mark.parametrize("path", [path for path in product_files() if place_of(path)[0] == "vmr_backend"], ids=name)
def test_the_methods_share_what_is_below_them_and_nothing_else(path):
    place = place_of(path)[1:] or ("",)
    _, inside = imports_of(path)
    used = {module.split(".")[1] for module in inside if module.count(".")} & METHODS
    allowed = METHODS if place[0] in ENTRANCES else ABOVE.get(place[0], {place[0]} & METHODS)
    assert used <= allowed


@pytest.mark.parametrize("path", [path for path in python_files() if place_of(path)[0] == "benchmarks"], ids=name)
def test_benchmarks_stand_outside_the_backend(path):
    outside, inside = imports_of(path)
    assert roots(inside) <= {"benchmarks"}
    assert roots(outside) - set(sys.stdlib_module_names) <= {"numpy", "vmr_backend"}
    imported = [alias.name for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
                if isinstance(node, ast.ImportFrom) for alias in node.names]
    assert not [name for name in imported if name.startswith("_")], "only what other files may use"


def test_no_room_is_called_utils():
    assert not [path for path in python_files() if {"utils", "helpers", "misc", "common"} & set(place_of(path))]
