"""Install Backend and Check Backend as scripts call them."""

import bpy
import pytest


def test_a_check_finds_the_devices_and_tells_what_there_is(extension, backend):
    assert bpy.ops.vmr.check_backend() == {"FINISHED"}
    ended = extension.module("properties").backend_activity.last
    assert (ended.text, ended.state, ended.found) == ("The backend is ready", "DONE", ["Python 3.11"])
    extension.preferences.device = "cuda:0"
    assert extension.preferences.device == "cuda:0"


def test_a_check_says_what_is_missing(extension, backend):
    backend.behave("lack torch")
    with pytest.raises(RuntimeError, match="PyTorch is missing"):
        bpy.ops.vmr.check_backend()
    assert extension.module("properties").backend_activity.last.state == "FAILED"


def test_there_must_be_something_to_check(extension):
    with pytest.raises(RuntimeError, match="Install the backend first"):
        bpy.ops.vmr.check_backend()


def test_a_device_that_is_gone_means_automatic(extension, backend, footage):
    bpy.ops.vmr.check_backend()
    extension.preferences.device = "cuda:0"
    extension.preferences.found_devices = "cpu"
    request = extension.module("operators.request").request_of(bpy.context, footage)
    assert request.device == "auto"


def test_an_installation_that_fails_gives_one_line(extension, monkeypatch, tmp_path):
    monkeypatch.setenv("VMR_BACKEND_REQUIREMENTS", str(tmp_path / "nowhere.txt"))
    with pytest.raises(RuntimeError, match="nowhere.txt") as error:
        bpy.ops.vmr.install_backend()
    assert "\n" not in str(error.value).strip()
    assert not extension.preferences.backend_found
