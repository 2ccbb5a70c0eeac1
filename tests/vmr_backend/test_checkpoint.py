"""Checkpoints: a run finds what was saved last, whole, or is told why it cannot go on."""

import json

import pytest
import torch

from vmr_backend.checkpoint import FACTS, TENSORS, Checkpoint
from vmr_backend.job import BadInput

SAVED = Checkpoint({"seconds": {"camera": 1.5}, "hypotheses": [{"turn": -0.6}]},
                   {"mesh.latent": torch.randn(1, 5, 3), "mirror": torch.arange(5), "none": torch.zeros(0)})


def refusal(folder) -> str:
    with pytest.raises(BadInput) as error:
        Checkpoint.load(folder)
    assert len(str(error.value).splitlines()) == 1 and "run again without resuming" in str(error.value)
    return str(error.value)


def test_a_checkpoint_comes_back_as_it_was_saved(tmp_path):
    SAVED.save(tmp_path)
    found = Checkpoint.load(tmp_path)
    assert found.facts == SAVED.facts
    assert found.tensors.keys() == SAVED.tensors.keys()
    for name, tensor in SAVED.tensors.items():
        assert torch.equal(found.tensors[name], tensor) and found.tensors[name].dtype == tensor.dtype


def test_tensors_that_are_views_are_saved_by_value(tmp_path):
    whole = torch.arange(12.0).reshape(3, 4)
    Checkpoint({}, {"turned": whole.T, "repeated": whole[:1].expand(5, 4)}).save(tmp_path)
    found = Checkpoint.load(tmp_path).tensors
    assert torch.equal(found["turned"], whole.T) and torch.equal(found["repeated"], whole[:1].expand(5, 4))


def test_a_later_checkpoint_takes_the_place_of_an_earlier_one(tmp_path):
    SAVED.save(tmp_path)
    Checkpoint({"seconds": {"camera": 1.5, "coarse": 9}}, {"new": torch.ones(2)}).save(tmp_path)
    found = Checkpoint.load(tmp_path)
    assert list(found.facts["seconds"]) == ["camera", "coarse"] and list(found.tensors) == ["new"]
    assert {path.name for path in tmp_path.iterdir()} == {FACTS, TENSORS}


def test_there_is_none_in_a_fresh_folder_and_none_after_it_was_removed(tmp_path):
    assert Checkpoint.load(tmp_path) is None
    Checkpoint.remove(tmp_path)
    SAVED.save(tmp_path)
    Checkpoint.remove(tmp_path)
    assert Checkpoint.load(tmp_path) is None and not list(tmp_path.iterdir())


def test_tensors_that_were_written_without_their_facts_do_not_count(tmp_path, monkeypatch):
    """As where the run is ended while it writes: old facts never go with new tensors."""
    SAVED.save(tmp_path)
    monkeypatch.setattr("vmr_backend.checkpoint.json.dumps", lambda _: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Checkpoint({}, {"new": torch.ones(2)}).save(tmp_path)
    assert Checkpoint.load(tmp_path) is None


@pytest.mark.parametrize("content", ["", "{", "[]", "null", '{"seconds": '])
def test_facts_that_cannot_be_read_are_told(tmp_path, content):
    SAVED.save(tmp_path)
    (tmp_path / FACTS).write_text(content)
    assert refusal(tmp_path).startswith(f"{tmp_path / FACTS}: cannot be read")


@pytest.mark.parametrize("length", [0, 5, 40, -1])
def test_tensors_that_are_cut_short_are_told(tmp_path, length):
    SAVED.save(tmp_path)
    whole = (tmp_path / TENSORS).read_bytes()
    (tmp_path / TENSORS).write_bytes(whole[:length])
    assert refusal(tmp_path).startswith(f"{tmp_path / TENSORS}: cannot be read")


def test_missing_tensors_are_told(tmp_path):
    (tmp_path / FACTS).write_text(json.dumps({"seconds": {}}))
    assert TENSORS in refusal(tmp_path)
