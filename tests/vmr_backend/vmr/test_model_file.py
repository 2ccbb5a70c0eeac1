"""A model file: what is loaded predicts what was saved, and nothing that a stranger sends does harm."""

import json
import pickle
import struct
from dataclasses import replace

import pytest
import safetensors.torch
import torch
from tiny_models import BALL, RENDERER, model_of, pictures, taught_a_little

from vmr_backend.annotations import Category
from vmr_backend.job import BadInput
from vmr_backend.vmr.model_file import FACTS, LARGEST, ModelCard, load_card, load_model, save_model

CPU = torch.device("cpu")
CATEGORY = Category("bird", ("beak", "left_eye", "right_eye"), ((0, 1), (0, 2)))
AFFINITY = torch.softmax(torch.randn(3, len(BALL), generator=torch.Generator().manual_seed(0)), 1)


def card_of(model, **facts) -> ModelCard:
    return ModelCard(CATEGORY, "weak", model.architecture, "CC0", {"iou": 0.71}, {"steps": 12}, 40, 12, **facts)


@pytest.fixture(scope="module")
def model():
    return taught_a_little(model_of(3)).eval()


@pytest.fixture
def saved(model, tmp_path):
    save_model(tmp_path / "bird.safetensors", model, AFFINITY, card_of(model))
    return tmp_path / "bird.safetensors"


def parts_of(path) -> tuple[dict[str, torch.Tensor], dict]:
    """A file's tensors and facts, to be changed."""
    with safetensors.safe_open(path, "pt") as file:
        return {name: file.get_tensor(name) for name in file.keys()}, json.loads(file.metadata()[FACTS])


def written(path, tensors, facts):
    path.write_bytes(safetensors.torch.save(tensors, {FACTS: json.dumps(facts)}))
    return path


def refused(path, naming: str = "") -> str:
    """The reason why a file is refused."""
    with pytest.raises(BadInput) as caught:
        load_model(path, CPU)
    said = str(caught.value)
    assert "\n" not in said and len(said) < 500 and said.startswith(f"{path}: ") and "needs" in said
    assert naming in said.removeprefix(str(path))
    return said


@pytest.mark.parametrize("encoder", ["small", "resnet18"])
@torch.no_grad()
def test_what_is_loaded_predicts_what_was_saved_to_half_precision(encoder, tmp_path):
    model = taught_a_little(model_of(3, encoder=encoder)).eval()
    model.usual_place.copy_(torch.tensor([0.1, -0.2, -0.3]))
    save_model(tmp_path / "it", model, AFFINITY, card_of(model))
    loaded = load_model(tmp_path / "it", CPU)
    assert (model.shape.bases() - loaded.model.shape.bases()).abs().max() < 1e-3
    for name, tensor in model.state_dict().items():
        tensor.copy_(loaded.model.shape.latent if name == "shape.latent" else tensor.half())
    images, masks = pictures(2, 64)
    (one, first), (other, again) = (m(images, masks, RENDERER) for m in (model, loaded.model))
    assert (one.vertices - other.vertices).abs().max() < 1e-4
    assert (one.camera.project(one.vertices) - other.camera.project(other.vertices)).abs().max() < 1e-4
    assert (first.hypotheses.rotations - again.hypotheses.rotations).abs().max() < 1e-4
    flows = [m.texture_flow(initial.encoding.code, refined, RENDERER, 64)
             for m, initial, refined in ((model, first, one), (loaded.model, again, other))]
    assert (flows[0] - flows[1]).abs().mean() < 1e-4
    assert (loaded.affinity - AFFINITY).abs().max() < 1e-3
    assert not loaded.model.training


def test_its_card_comes_back(saved, model):
    assert load_card(saved) == card_of(model)
    assert load_model(saved, CPU).card == card_of(model)


def test_a_file_that_calls_its_refinements_as_earlier_ones_do_is_read(saved, model):
    tensors, facts = parts_of(saved)
    facts["architecture"]["looks"] = facts["architecture"].pop("refinements")
    assert load_model(written(saved, tensors, facts), CPU).card == card_of(model)


def test_a_model_without_keypoints_has_none(model, tmp_path):
    save_model(tmp_path / "it", model, None, replace(card_of(model), category=Category("bird"), training="self"))
    assert load_model(tmp_path / "it", CPU).affinity is None


def test_a_file_takes_two_bytes_for_each_number(saved, model):
    numbers = sum(value.numel() for value in model.state_dict().values()) + AFFINITY.numel()
    assert saved.stat().st_size < 2 * numbers + 50_000


def test_saving_again_gives_the_same_file(saved, model, tmp_path):
    loaded = load_model(saved, CPU)
    save_model(tmp_path / "again", loaded.model, loaded.affinity, loaded.card)
    (one, facts), (other, other_facts) = parts_of(saved), parts_of(tmp_path / "again")
    assert facts == other_facts and one.keys() == other.keys()
    for name, value in one.items():
        assert torch.allclose(value.float(), other[name].float(), atol=2e-3), name


@pytest.mark.parametrize("left", [0, 4, 20_000, -1])
def test_a_part_of_a_file_is_refused(saved, left):
    saved.write_bytes(saved.read_bytes()[:left])
    refused(saved)


def test_a_pickle_is_refused_and_does_nothing(tmp_path):
    class Harm:
        def __reduce__(self):
            return open, (str(tmp_path / "harm"), "w")

    path = tmp_path / "bird.safetensors"
    path.write_bytes(pickle.dumps(Harm()))
    refused(path)
    torch.save({"weights": Harm()}, path)
    refused(path)
    assert not (tmp_path / "harm").exists()


def test_a_header_that_is_said_to_be_huge_is_refused(saved):
    content = saved.read_bytes()
    for length in (2**40, 2**63, len(content) - 7):
        saved.write_bytes(struct.pack("<Q", length) + content[8:])
        refused(saved)


def test_a_file_too_large_to_be_a_model_is_refused_unread(tmp_path):
    path = tmp_path / "bird.safetensors"
    with open(path, "wb") as file:
        file.truncate(LARGEST + 1)
    refused(path, str(LARGEST + 1))


def test_what_is_no_file_is_refused(tmp_path):
    refused(tmp_path / "none.safetensors")
    refused(tmp_path)


@pytest.mark.parametrize("version", [0, 1, "1\n2", None, [1]])
def test_another_version_is_refused(saved, version):
    tensors, facts = parts_of(saved)
    refused(written(saved, tensors, facts | {"version": version}), "format")


@pytest.mark.parametrize("change", [
    {"architecture": {"encoder": "resnet50"}}, {"architecture": None},
    {"architecture": {"encoder": "small", "image_size": 64.5}}, {"architecture": {"image_size": 10**6}},
    {"architecture": {"image_size": 0}}, {"architecture": {"hypotheses": 0}}, {"architecture": {"refinements": 100}},
    {"architecture": {"looks": 100}},
    {"category": "bird"}, {"category": {"name": "bird", "skeleton": [[0, 1, 2]]}}, {"category": {"name": 7}},
    {"category": {"name": "bird", "keypoints": ["a"], "skeleton": [[0, 1]]}},
    {"category": {"name": "bird", "keypoints": "abc"}}, {"category": {"name": "bird\nBird"}},
    {"training": "strong"}, {"scores": [1]}, {"scores": {"iou": "good"}}, {"settings": 5}, {"pictures": "many"},
    {"steps": None}, {"licence": 3}, {"more": 1}], ids=str)
def test_facts_of_another_kind_are_refused(saved, change):
    tensors, facts = parts_of(saved)
    refused(written(saved, tensors, facts | change))


@pytest.mark.parametrize("text", ["", "null", "[]", "{", "[" * 10_000, '{"version": ' + "9" * 5000 + "}"],
                         ids=lambda text: text[:8])
def test_facts_that_are_none_are_refused(saved, text):
    tensors, _ = parts_of(saved)
    saved.write_bytes(safetensors.torch.save(tensors, {FACTS: text}))
    refused(saved)
    saved.write_bytes(safetensors.torch.save(tensors))
    refused(saved)


@pytest.mark.parametrize("name", ["bases", "shape.places", "shape.twin", "landmarks", "second_trunk.0.weight"])
def test_a_file_without_one_of_its_tensors_is_refused_by_that_name(saved, name):
    tensors, facts = parts_of(saved)
    del tensors[name]
    refused(written(saved, tensors, facts), name)


@pytest.mark.parametrize("name", ["shape.places", "shape.weights", "trunk.0.weight", "affinity"])
@pytest.mark.parametrize("harm", [
    lambda value: value[:-1].clone(), lambda value: value[None].clone(), lambda value: value.flatten()[0].clone(),
    lambda value: value[:0].clone()], ids=["shorter", "deeper", "one number", "empty"])
def test_tensors_of_other_shapes_are_refused(saved, name, harm):
    tensors, facts = parts_of(saved)
    refused(written(saved, tensors | {name: harm(tensors[name])}, facts))


@pytest.mark.parametrize("name", ["bases", "trunk.0.weight"])
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_numbers_that_are_not_finite_are_refused(saved, name, value):
    tensors, facts = parts_of(saved)
    tensors[name][..., -1] = value
    refused(written(saved, tensors, facts), "finite")


def test_positions_that_are_on_no_sphere_and_twins_that_are_none_are_refused(saved):
    tensors, facts = parts_of(saved)
    for name, value in (("shape.places", 0 * BALL), ("shape.places", -BALL), ("shape.places", BALL.flip(0)),
                        ("shape.twin", 0 * tensors["shape.twin"] + 99), ("shape.twin", tensors["shape.twin"] - 9),
                        ("shape.weights", 0 * tensors["shape.weights"]), ("affinity", -tensors["affinity"])):
        refused(written(saved, tensors | {name: value.contiguous()}, facts))


def test_more_tensors_than_a_model_has_are_refused(saved):
    tensors, facts = parts_of(saved)
    refused(written(saved, tensors | {"more": torch.zeros(3)}, facts), "more")


def test_an_interrupted_save_leaves_the_old_file(saved, model, monkeypatch):
    before = saved.read_bytes()
    monkeypatch.setattr("os.replace", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        save_model(saved, model, None, card_of(model))
    assert saved.read_bytes() == before and list(saved.parent.iterdir()) == [saved]
