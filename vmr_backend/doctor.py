"""Tells whether this Python can run the backend: versions, devices, memory, and in plain language what is missing.

Everything outside the standard library is imported inside `try`: the answer is needed most where something is broken.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import importlib.metadata
import io
import json
import os
import platform
import re
import shutil
import sys
from dataclasses import asdict, dataclass, field
from typing import Any

from .arguments import Arguments

MINIMUM_PYTHON = (3, 11)
INSTALL = 'press "Install Backend" in the extension\'s preferences, or install it into this Python with pip'


@dataclass(frozen=True)
class Requirement:
    """A package that the backend imports."""

    module: str
    distribution: str
    label: str
    minimum: str


REQUIREMENTS = (
    Requirement("numpy", "numpy", "NumPy", "1.26"),
    Requirement("scipy", "scipy", "SciPy", "1.11"),
    Requirement("cv2", "opencv-python-headless", "OpenCV", "4.9"),
    Requirement("av", "av", "PyAV", "18"),
    Requirement("PIL", "Pillow", "Pillow", "10"),
    Requirement("filelock", "filelock", "filelock", "3.12"),
    Requirement("pycocotools", "pycocotools", "pycocotools", "2.0.8"),
    Requirement("safetensors", "safetensors", "safetensors", "0.4"),
    Requirement("sklearn", "scikit-learn", "scikit-learn", "1.5"),
    Requirement("tensorboardX", "tensorboardX", "tensorboardX", "2.6"),
    Requirement("torch", "torch", "PyTorch", "2.4"),
    Requirement("warp", "warp-lang", "Warp", "1.19"),
)


@dataclass
class Device:
    """Something to compute on."""

    name: str
    """As the device setting takes it: cpu, cuda:0."""
    label: str
    memory: int
    """Bytes in total; 0 where unknown."""
    free: int | None = None
    """Bytes free now, where known."""


@dataclass
class Diagnosis:
    """What was found."""

    python: str = platform.python_version()
    executable: str = sys.executable
    platform: str = f"{platform.system()} {platform.machine()}"
    packages: dict[str, str | None] = field(default_factory=dict)
    """Label -> version, None where missing or broken."""
    devices: list[Device] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """What keeps the backend from running, each with what to do."""
    notes: list[str] = field(default_factory=list)
    """What makes it slower than it could be."""

    @property
    def ok(self) -> bool:
        return not self.problems


def main(argv: list[str] | None = None) -> int:
    parser = Arguments(prog="python -m vmr_backend doctor", description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true", help="one JSON object instead of text")
    arguments = parser.parse_args(argv)
    diagnosis = diagnose()
    if arguments.json:
        print(json.dumps(asdict(diagnosis) | {"ok": diagnosis.ok, "lines": lines(diagnosis)}))
    else:
        print("\n".join(lines(diagnosis)))
    return 0 if diagnosis.ok else 1


def diagnose() -> Diagnosis:
    found = Diagnosis()
    if sys.version_info < MINIMUM_PYTHON:
        found.problems.append(f"Python {found.python} is too old: the backend needs 3.11 or newer; name another "
                              "interpreter in the extension's preferences.")
    modules = {requirement.module: _import(requirement, found) for requirement in REQUIREMENTS}
    found.packages["PyTorch3D (optional)"] = _pytorch3d(found)
    found.devices.append(Device("cpu", f"{os.cpu_count()} cores", _memory()))
    torch_devices = _torch_devices(modules["torch"], found)
    warp_devices = _warp_devices(modules["warp"], found)
    _compare_devices(torch_devices, warp_devices, found)
    return found


def lines(found: Diagnosis) -> list[str]:
    """The diagnosis as a person reads it."""
    text = [f"Python {found.python} on {found.platform}: {found.executable}"]
    text += [f"{label} {version or 'not found'}" for label, version in found.packages.items()]
    text += [f"Device {_device_line(device)}" for device in found.devices]
    text += [f"Problem: {problem}" for problem in found.problems] + [f"Note: {note}" for note in found.notes]
    return text + ["The backend is ready." if found.ok else "The backend cannot run with this Python."]


def _device_line(device: Device) -> str:
    gigabytes = [f"{device.memory / 2**30:.1f} GiB"] if device.memory else []
    if device.free is not None:
        gigabytes.append(f"{device.free / 2**30:.1f} GiB free")
    return ", ".join([f"{device.name}: {device.label}", *gigabytes])


def _import(requirement: Requirement, found: Diagnosis) -> Any:
    """The module, or None with a problem noted."""
    found.packages[requirement.label] = None
    try:
        module = importlib.import_module(requirement.module)
    except ModuleNotFoundError as error:
        if error.name == requirement.module:
            found.problems.append(f"{requirement.label} is missing: {INSTALL}.")
        else:
            found.problems.append(f"{requirement.label} is incomplete ({error}): install the backend anew.")
        return None
    except Exception as error:  # a broken native library raises whatever it likes
        found.problems.append(f"{requirement.label} does not start ({_first_line(error)}): {_native_advice()}.")
        return None
    version = str(getattr(module, "__version__", "") or _installed_version(requirement.distribution) or "0")
    found.packages[requirement.label] = version
    if _numbers(version) < _numbers(requirement.minimum):
        found.problems.append(f"{requirement.label} {version} is too old: the backend needs {requirement.minimum} "
                              f"or newer; {INSTALL}.")
    return module


def _native_advice() -> str:
    if sys.platform == "win32":
        return "install Microsoft's Visual C++ runtime (x64), then the backend anew"
    return "install the backend anew"


def _torch_devices(torch: Any, found: Diagnosis) -> dict[str, Device]:
    """CUDA devices of PyTorch; where there are none although the machine has a GPU, a note says why."""
    if torch is None:
        return {}
    devices = {}
    try:
        for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
            free, total = torch.cuda.mem_get_info(index)
            devices[f"cuda:{index}"] = Device(f"cuda:{index}", torch.cuda.get_device_name(index), total, free)
    except Exception as error:  # a driver that fails leaves the CPU
        found.notes.append(f"PyTorch cannot use the GPU ({_first_line(error)}); runs go on the CPU.")
    if not devices and shutil.which("nvidia-smi"):
        if torch.version.cuda is None:
            found.notes.append("There is an NVIDIA GPU, but this PyTorch is built without CUDA; runs go on the CPU. "
                               "Name an interpreter with a CUDA build of PyTorch to use the GPU.")
        else:
            found.notes.append(f"There is an NVIDIA GPU, but PyTorch (CUDA {torch.version.cuda}) finds none that it "
                               "can use; runs go on the CPU. Usually the NVIDIA driver needs an update.")
    return devices


def _warp_devices(warp: Any, found: Diagnosis) -> set[str]:
    if warp is None:
        return set()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it greets there, amid our JSON
            warp.init()
        return {str(device) for device in warp.get_devices()}
    except Exception as error:
        found.problems.append(f"Warp does not start ({_first_line(error)}): {_native_advice()}.")
        return set()


def _compare_devices(torch_devices: dict[str, Device], warp_devices: set[str], found: Diagnosis) -> None:
    """A run needs both PyTorch and Warp on its device."""
    found.devices += [device for name, device in torch_devices.items() if name in warp_devices]
    for name in torch_devices:
        if warp_devices and name not in warp_devices:
            found.notes.append(f"PyTorch can use {name}, but Warp cannot, so it is left out. "
                               "Usually the NVIDIA driver needs an update.")


def _pytorch3d(found: Diagnosis) -> str | None:
    """The version of the second renderer, or None; a note where it is there and does not start."""
    try:
        version = str(importlib.import_module("pytorch3d").__version__)
        importlib.import_module("pytorch3d._C")
        return version
    except ModuleNotFoundError as error:
        if error.name == "pytorch3d":
            return None
        problem: Exception = error
    except Exception as error:  # built for another PyTorch
        problem = error
    found.notes.append(f"PyTorch3D does not start ({_first_line(problem)}), so the renderer pytorch3d cannot be "
                       "chosen; build it anew for this PyTorch.")
    return None


def _installed_version(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", version.split("+")[0])[:3])


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _memory() -> int:
    """Bytes of main memory; 0 where the system does not tell."""
    if sys.platform == "win32":
        kilobytes = ctypes.c_ulonglong()
        ctypes.windll.kernel32.GetPhysicallyInstalledSystemMemory(ctypes.byref(kilobytes))
        return kilobytes.value * 1024
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError):
        return 0


if __name__ == "__main__":
    sys.exit(main())
