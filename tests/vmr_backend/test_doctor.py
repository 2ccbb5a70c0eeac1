"""What the doctor says of Pythons that can and cannot run the backend."""

import json
import shutil
import subprocess
import sys
import tomllib
import venv
from pathlib import Path

import pytest

from vmr_backend import doctor

ROOT = Path(__file__).parents[2]


def run_doctor(python, *options):
    code = f"import sys; sys.path.append({str(ROOT)!r}); from vmr_backend.doctor import main; sys.exit(main())"
    return subprocess.run([str(python), "-I", "-c", code, *options], capture_output=True, encoding="utf-8")


@pytest.fixture(scope="module")
def empty_python(tmp_path_factory):
    folder = tmp_path_factory.mktemp("empty")
    venv.create(folder, with_pip=False)
    return folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")


def test_this_environment_is_ready():
    run = run_doctor(sys.executable, "--json")
    found = json.loads(run.stdout)
    assert run.returncode == 0 and found["ok"] and found["problems"] == []
    assert found["devices"][0]["name"] == "cpu" and found["devices"][0]["memory"] > 2**28
    assert found["packages"]["PyTorch"][0].isdigit()
    assert found["lines"][-1] == "The backend is ready."


def test_a_python_without_packages_is_told_what_is_missing_and_what_to_do(empty_python):
    run = run_doctor(empty_python)
    assert run.returncode == 1
    for requirement in doctor.REQUIREMENTS:
        assert f"Problem: {requirement.label} is missing" in run.stdout
    assert "Install Backend" in run.stdout and "Traceback" not in run.stderr
    assert "Device cpu" in run.stdout


def test_a_package_that_does_not_start_is_told_by_its_own_words(empty_python):
    packages = next(empty_python.parents[1].glob("**/site-packages"))
    (packages / "torch.py").write_text("raise OSError('libcudart.so: cannot open\\nmore')", encoding="utf-8")
    (packages / "numpy.py").write_text("__version__ = '1.20'", encoding="utf-8")
    (packages / "scipy.py").write_text("import elsewhere", encoding="utf-8")
    found = json.loads(run_doctor(empty_python, "--json").stdout)
    assert any("PyTorch does not start (libcudart.so: cannot open)" in problem for problem in found["problems"])
    assert any("NumPy 1.20 is too old: the backend needs 1.26" in problem for problem in found["problems"])
    assert any("SciPy is incomplete" in problem for problem in found["problems"])


@pytest.mark.parametrize(("extension", "version", "notes"), [
    ("", "0.7", []),
    ("raise ImportError('undefined symbol: c10\\nmore')", None,
     ["PyTorch3D does not start (undefined symbol: c10), so the renderer pytorch3d cannot be chosen; build it anew for "
      "this PyTorch."]),
    (None, None, []),
])
def test_whether_the_second_renderer_can_be_chosen_is_told(empty_python, extension, version, notes):
    package = next(empty_python.parents[1].glob("**/site-packages")) / "pytorch3d"
    if extension is not None:
        package.mkdir(exist_ok=True)
        (package / "__init__.py").write_text("__version__ = '0.7'", encoding="utf-8")
        (package / "_C.py").write_text(extension, encoding="utf-8")
    else:
        shutil.rmtree(package)
    found = json.loads(run_doctor(empty_python, "--json").stdout)
    assert found["packages"]["PyTorch3D (optional)"] == version and found["notes"] == notes


class StandInTorch:
    """The part of torch that is asked for devices."""

    class version:
        cuda = "13.0"

    class cuda:
        is_available = staticmethod(lambda: True)
        device_count = staticmethod(lambda: 2)
        get_device_name = staticmethod(lambda index: f"GPU {index}")
        mem_get_info = staticmethod(lambda index: (3 * 2**30, 8 * 2**30))


def test_only_devices_that_both_torch_and_warp_can_use_are_offered():
    found = doctor.Diagnosis()
    doctor._compare_devices(doctor._torch_devices(StandInTorch, found), {"cpu", "cuda:0"}, found)
    assert [device.name for device in found.devices] == ["cuda:0"]
    assert any("cuda:1" in note for note in found.notes)
    assert "Device cuda:0: GPU 0, 8.0 GiB, 3.0 GiB free" in doctor.lines(found)


def test_a_gpu_that_torch_cannot_use_is_explained(monkeypatch):
    monkeypatch.setattr(doctor.shutil, "which", lambda name: f"/{name}")
    monkeypatch.setattr(StandInTorch.cuda, "is_available", staticmethod(lambda: False))
    found = doctor.Diagnosis()
    assert doctor._torch_devices(StandInTorch, found) == {}
    assert "driver needs an update" in found.notes[0]
    monkeypatch.setattr(StandInTorch.version, "cuda", None)
    found = doctor.Diagnosis()
    doctor._torch_devices(StandInTorch, found)
    assert "built without CUDA" in found.notes[0]


def test_it_asks_for_the_versions_that_the_project_names():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = {f"{requirement.distribution}>={requirement.minimum}" for requirement in doctor.REQUIREMENTS}
    assert asked == set(project["dependencies"])
