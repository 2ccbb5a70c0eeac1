"""Fits the tests to where they run: in a Blender (the `bpy` module), in the backend's environment, or in both.

The checkout is importable as the package `video_mesh_reconstruction` without being registered. In Blender the user's
settings and extensions are those of an empty folder.
"""

import atexit
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = "video_mesh_reconstruction"
HAS_BLENDER = find_spec("bpy") is not None
BETWEEN = {(4, 5), (5, 0)}
"""Versions of Blender between the oldest and the newest that tests run in: those marked `slow` are left out there."""
LEAST_BUSY = (4, 2)
"""The version in which tests marked `once` run."""

LONGEST = "test_golden.py", "test_cli.py", "test_whole_training.py", "test_quality.py"
"""Files whose tests take minutes."""

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
"""NumPy's products are small, and its threads wait for one another by computing; commands of the tests inherit it."""

exit_status = None
collect_ignore = []
checkout = ModuleType(PACKAGE)
checkout.__path__ = [str(ROOT)]
sys.modules[PACKAGE] = checkout
if HAS_BLENDER:
    os.environ["BLENDER_USER_RESOURCES"] = tempfile.mkdtemp(prefix="blender_user_")
else:
    collect_ignore += ["extension", "operators", "panels", "scene", "window"]
if find_spec("torch") is None:
    collect_ignore += ["benchmarks", "vmr_backend"]


class RootIsNoTestPackage:
    """Keeps pytest from importing the add-on's own __init__.py, which needs Blender, as a package of tests."""

    @staticmethod
    def pytest_collect_directory(path, parent):
        return pytest.Dir.from_parent(parent, path=path) if path == ROOT else None


@atexit.register
def leave_before_blender_crashes():
    """End with pytest's status: bpy up to 4.5 may crash or hang after this, while Python comes down.

    4.2 does where a property ever had a callback, 4.5 where a timer is left; fixed in 5.0. Called last of all, because
    it was registered first.
    """
    if exit_status is not None and "bpy" in sys.modules and sys.modules["bpy"].app.version < (5, 0):
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_status)


def pytest_sessionfinish(exitstatus):
    global exit_status
    exit_status = int(exitstatus)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup():
    """PyTorch computes on one thread in every test and in the fixtures made for it, whatever commands ran before.

    Sums are rounded alike then however busy the machine is; and meshes are so tiny that threads only wait for others.
    """
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


def pytest_configure(config):
    config.pluginmanager.register(RootIsNoTestPackage())
    config.addinivalue_line("markers", "slow: of tests in Blender, run in the oldest and the newest alone")
    config.addinivalue_line("markers", "once: of tests in Blender that depend on no version, run in one alone")


def pytest_collection_modifyitems(items):
    # Of two processes that share out the files none is left with the longest at the end.
    items.sort(key=lambda item: item.path.name not in LONGEST)
    if "bpy" not in sys.modules:  # tests that need none do not load it
        return
    version = sys.modules["bpy"].app.version[:2]
    for item in items:
        if item.get_closest_marker("once"):
            if version != LEAST_BUSY:
                item.add_marker(pytest.mark.skip(reason="once: in another Blender"))
        elif item.get_closest_marker("slow") and version in BETWEEN:
            item.add_marker(pytest.mark.skip(reason="slow: in the oldest and the newest Blender"))


def pytest_report_header():
    if not HAS_BLENDER:
        return "Blender: none here, its tests are left out"
    import bpy

    return f"Blender: {bpy.app.version_string}"


def pytest_unconfigure():
    if HAS_BLENDER:
        shutil.rmtree(os.environ["BLENDER_USER_RESOURCES"], ignore_errors=True)


@pytest.fixture
def empty_file():
    """A new, empty Blender file; add-ons stay as they are."""
    import bpy

    bpy.ops.wm.read_homefile(use_empty=True, use_factory_startup=True)
    return bpy.context


@pytest.fixture(scope="session")
def extension_tool():
    """Runs Blender's own command line for extensions: `extension_tool("validate", path)`."""
    import bpy

    script = Path(bpy.utils.system_resource("SCRIPTS")) / "addons_core" / "bl_pkg" / "cli" / "blender_ext.py"

    def run(*arguments):
        done = subprocess.run(
            [sys.executable, script, *map(str, arguments)], capture_output=True, encoding="utf-8", cwd=ROOT
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run


@pytest.fixture(scope="session")
def extension_zip(extension_tool, tmp_path_factory):
    """The extension, built from the checkout."""
    path = tmp_path_factory.mktemp("dist") / f"{PACKAGE}.zip"
    extension_tool("build", "--source-dir", ROOT, "--output-filepath", path)
    return path


@pytest.fixture(scope="session")
def installed_extension(extension_zip):
    """The built extension, installed and enabled in Blender; yields its module's name, disables it at the end."""
    import bpy

    bpy.ops.extensions.package_install_files(
        filepath=str(extension_zip), repo="user_default", enable_on_install=True, overwrite=True
    )
    module = f"bl_ext.user_default.{PACKAGE}"
    assert module in bpy.context.preferences.addons, "the extension was installed but could not be enabled"
    yield module
    if module in bpy.context.preferences.addons:
        bpy.ops.preferences.addon_disable(module=module)
