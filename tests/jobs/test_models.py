"""Category models as files: their facts, and one line for those that cannot be used."""

import pickle

import pytest
from model_files import save_header, save_model
from video_mesh_reconstruction.jobs import models
from video_mesh_reconstruction.jobs.models import find_model, install_model, models_in, read_model, remove_model
from video_mesh_reconstruction.vmr_backend.job import BadInput


@pytest.fixture(autouse=True)
def shipped(tmp_path, monkeypatch):
    """The folder of the models that come with the extension: a bird."""
    monkeypatch.setattr(models, "SHIPPED", tmp_path / "shipped")
    return save_model(tmp_path / "shipped" / "bird.safetensors", "bird", {"IoU": 0.9}).parent


def test_a_model_says_what_it_is_of_and_how_well_it_does(tmp_path):
    model = read_model(save_model(tmp_path / "fox.safetensors", "fox", {"IoU": 0.87, "PCK": 1, "note": "good"}))
    assert (model.name, model.category, model.scores) == ("fox", "fox", {"IoU": 0.87, "PCK": 1.0})


def test_scores_that_are_no_numbers_are_left_out(tmp_path):
    assert read_model(save_model(tmp_path / "fox.safetensors", scores=[1, 2])).scores == {}


def test_models_that_come_with_the_extension_stand_first_and_broken_ones_say_why(tmp_path):
    save_model(tmp_path / "own" / "ant.safetensors")
    (tmp_path / "own" / "bee.safetensors").write_bytes(b"half")
    listed = models_in(tmp_path / "own")
    assert [(model.name, model.is_shipped, bool(model.problem)) for model in listed] == [
        ("bird", True, False), ("ant", False, False), ("bee", False, True)]


def test_a_model_trained_anew_under_the_same_name_is_read_anew(tmp_path):
    path = save_model(tmp_path / "fox.safetensors", scores={"IoU": 0.1})
    assert read_model(path).scores == {"IoU": 0.1}
    save_model(path, scores={"IoU": 0.95}, size=8)
    assert read_model(path).scores == {"IoU": 0.95}


def test_a_model_is_found_by_name_or_path(tmp_path):
    own = save_model(tmp_path / "own" / "ant.safetensors")
    elsewhere = save_model(tmp_path / "elsewhere" / "cow.safetensors")
    assert find_model("ant", own.parent).path == own
    assert find_model("bird", own.parent).is_shipped
    assert find_model(str(elsewhere), own.parent).path == elsewhere
    with pytest.raises(BadInput, match=r"found no category model 'cow'; needs .*\(bird, ant\)"):
        find_model("cow", own.parent)


def test_a_new_model_takes_its_categorys_name_and_overwrites_nothing(tmp_path):
    own = tmp_path / "own"
    first = save_model(tmp_path / "job 1" / "model.safetensors", "Bird", {"IoU": 0.5})
    assert install_model(first, "my dog", own).name == "my_dog.safetensors"
    assert install_model(first, "my dog", own).name == "my_dog.safetensors"
    second = save_model(tmp_path / "job 2" / "model.safetensors", "Bird", {"IoU": 0.6})
    assert install_model(second, "my dog", own).name == "my_dog_2.safetensors"
    assert install_model(second, "bird", own).name == "bird_2.safetensors"
    assert read_model(own / "my_dog.safetensors").scores == {"IoU": 0.5}
    assert install_model(first, "../../up", own).parent == own


def test_only_models_of_the_own_folder_are_removed(tmp_path):
    path = save_model(tmp_path / "own" / "ant.safetensors")
    remove_model("ant", path.parent)
    assert not path.exists()
    for name in ("ant", "bird", "../shipped/bird"):
        with pytest.raises(BadInput, match="found no such model"):
            remove_model(name, path.parent)


WHOLE = {"__metadata__": {"category": "fox"}, "mean": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}
BROKEN = {
    "nothing": lambda path: path.write_bytes(b""),
    "a pickle": lambda path: path.write_bytes(pickle.dumps({"weights": list(range(100))})),
    "a header longer than the file": lambda path: path.write_bytes((10**6).to_bytes(8, "little") + b"{}"),
    "a header without end": lambda path: path.write_bytes((2**63).to_bytes(8, "little") + b"{}" * 50),
    "no JSON": lambda path: path.write_bytes((4).to_bytes(8, "little") + b"\xff{}}"),
    "deep JSON": lambda path: path.write_bytes((10**5).to_bytes(8, "little") + b"[" * 10**5),
    "a list": lambda path: save_header(path, [1, 2]),
    "tensors of something else": lambda path: save_header(path, {"mean": WHOLE["mean"]}, bytes(4)),
    "a category that is no text": lambda path: save_header(path, {"__metadata__": {"category": 3}}),
    "tensors that are cut off": lambda path: save_header(path, WHOLE, bytes(3)),
    "tensors without a place": lambda path: save_header(path, WHOLE | {"mean": {"dtype": "U8"}}, bytes(4)),
    "more than its tensors": lambda path: save_header(path, WHOLE, bytes(5)),
}


@pytest.mark.parametrize("what", BROKEN)
def test_a_broken_file_is_refused_in_one_line(tmp_path, what):
    path = tmp_path / "fox.safetensors"
    BROKEN[what](path)
    with pytest.raises(BadInput, match=r"fox\.safetensors: found .*; needs a (whole )?category model") as refused:
        read_model(path)
    assert "\n" not in str(refused.value)


def test_a_missing_file_is_refused_in_one_line(tmp_path):
    with pytest.raises(BadInput, match="cannot be read"):
        read_model(tmp_path / "none.safetensors")
    with pytest.raises(BadInput, match="cannot be read"):
        read_model(tmp_path)
