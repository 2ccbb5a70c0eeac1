"""The training loop: the loss falls, interruptions leave no trace, and so does the number of processes."""

import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from learning_process import two_steps
from safetensors.torch import load_file
from tiny_trainings import BODY, RENDERER, toy_examples, toy_model, toy_trainer

from vmr_backend.geometry.rotations import about_z, angle_between
from vmr_backend.job import BadInput
from vmr_backend.rendering.interface import pixel_centres
from vmr_backend.training.losses import TURN_BOUND, hypotheses_loss, imitation_losses, landmark_loss, texture_losses
from vmr_backend.training.network import FINAL_RATE, WARM_UP, rate_factor
from vmr_backend.vmr.encoders import local_soft_argmax
from vmr_backend.vmr.model import Encoding, Hypotheses, Prediction, State, nearest_hypotheses
from vmr_backend.vmr.objective import samples_inside

HERE = Path(__file__).parent


def test_the_loss_falls():
    trainer = toy_trainer(toy_examples(4), steps=40, batch=4, rate=4e-3, refinement_from=1.0, pictures_from=1.0)
    parts = [trainer.update() for _ in range(40)]
    early, late = ({name: np.mean([one[name] for one in some]) for name in ("landmarks", "projection", "hypotheses")}
                   for some in (parts[:5], parts[-5:]))
    # What is off by far counts little (POSITION_BOUND): less than the distance itself falls, falls what is counted.
    assert late["projection"] < 0.95 * early["projection"] and late["hypotheses"] < 0.9 * early["hypotheses"]
    assert late["landmarks"] < 0.9 * early["landmarks"]


def test_refinement_and_pictures_come_in_as_planned():
    trainer = toy_trainer(steps=4, refinement_from=0.25, pictures_from=0.5)
    told = [trainer.update() for _ in range(4)]
    assert ["mask" in parts for parts in told] == [False, False, True, True]
    assert not trainer.model.correction.weight.isnan().any()
    fresh = toy_model().second_trunk[0].weight
    trained = toy_trainer(steps=4, refinement_from=0.5, pictures_from=1.0)
    for step in range(4):
        trained.update()
        assert torch.allclose(trained.model.second_trunk[0].weight, fresh, atol=1e-5) == (step < 3), \
            "only once the layer above it outputs something"


def test_an_interrupted_training_goes_on_as_if_it_had_not_been():
    plan = {"steps": 5, "refinement_from": 0.3, "pictures_from": 0.5}
    whole = toy_trainer(**plan)
    for _ in range(3):
        whole.update()
    kept = {name: value.clone() for name, value in whole.tensors().items()}
    torch.manual_seed(99)
    second = toy_trainer(**plan)
    second.restore(kept, 3)
    for _ in range(2):
        torch.rand(7)
        assert second.update() == pytest.approx(whole.update(), rel=1e-4)
    for (name, value), other in zip(whole.model.state_dict().items(), second.model.state_dict().values(), strict=True):
        assert torch.allclose(value, other, atol=1e-6), name


def test_several_processes_find_the_gradients_of_one(tmp_path):
    """Five pictures a step: one process has three of them, the other two."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": os.pathsep.join(
        [str(HERE.parents[2]), str(HERE)])}
    running = [subprocess.Popen([sys.executable, HERE / "learning_process.py", tmp_path, str(rank), "2"],
                                env=environment) for rank in range(2)]
    alone = two_steps(toy_trainer())
    assert [process.wait(120) for process in running] == [0, 0]
    together = load_file(tmp_path / "found.safetensors")
    assert alone.keys() == together.keys()
    for name, value in alone.items():
        assert torch.allclose(value, together[name], rtol=1e-4, atol=1e-5 if "gradient" in name else 1e-4), name


def test_processes_share_out_the_pictures_of_one():
    trainer = toy_trainer()
    whole, chance = trainer.batch()
    parts = []
    for rank in range(2):
        trainer._rank, trainer._processes = rank, 2
        parts.append(trainer.batch())
    for f in fields(whole):
        if f.name != "camera":
            merged = torch.empty_like(getattr(whole, f.name))
            merged[0::2], merged[1::2] = (getattr(part, f.name) for part, _ in parts)
            assert torch.allclose(merged, getattr(whole, f.name), atol=1e-6), f.name
    assert torch.equal(torch.cat([parts[0][1].inside, parts[1][1].inside]),
                       torch.cat([chance.inside[0::2], chance.inside[1::2]]))


def test_every_step_takes_other_pictures_and_every_training_the_same():
    one, other = toy_trainer(), toy_trainer()
    assert torch.equal(one.batch()[0].images, other.batch()[0].images)
    other.step = 1
    assert not torch.equal(one.batch()[0].images, other.batch()[0].images)


def test_a_batch_is_no_larger_than_the_collection():
    assert len(toy_trainer(toy_examples(3), batch=16).batch()[0].images) == 3


def test_numbers_that_are_not_finite_end_a_training():
    trainer = toy_trainer()
    with torch.no_grad():
        trainer.model.body.bias.fill_(torch.nan)
    with pytest.raises(BadInput, match="^learning_rate: found 0.001, .* diverged at step 0; needs a lower one$"):
        trainer.update()


def test_the_rate_rises_then_falls_along_a_cosine():
    steps = 4000
    rates = np.array([rate_factor(step, steps) for step in range(steps + 1)])
    assert rates[0] == pytest.approx(1 / WARM_UP, rel=1e-3) and rates.max() == pytest.approx(1, abs=0.01)
    assert (np.diff(rates[:WARM_UP - 1]) > 0).all() and (np.diff(rates[WARM_UP:]) < 0).all()
    assert rates[steps // 2] == pytest.approx((1 + FINAL_RATE) / 2) and rates[-1] == pytest.approx(FINAL_RATE)
    assert rate_factor(9, 100) == pytest.approx(1, abs=0.03) and rate_factor(4, 100) == pytest.approx(0.5, abs=0.01)
    assert rate_factor(0, 5) > 0.9, "of few steps none is lost"


def test_samples_inside_a_mask_are_its_pixels_each_as_likely():
    masks = torch.zeros(2, 16, 16)
    masks[0, 3:5, 10:14] = 1
    masks[1, 15, 15], masks[1, 0, 0] = 1, 0.25
    chance = torch.rand(2, 8000, generator=torch.Generator().manual_seed(0))
    pixels = ((samples_inside(masks, chance) + 1) * 8 - 0.5).round().long()
    found = torch.zeros(2, 16, 16).index_put((torch.arange(2)[:, None], pixels[..., 1], pixels[..., 0]),
                                             torch.ones(2, 8000), accumulate=True)
    assert (found[masks == 0] < 8).all()
    assert (found[0, 3:5, 10:14] / 1000 - 1).abs().max() < 0.15
    assert found[1, 0, 0] / found[1, 15, 15] == pytest.approx(0.25, rel=0.15)
    assert samples_inside(torch.zeros(1, 16, 16), chance[:1, :9]).abs().max() <= 1, "a mask without pixels does no harm"


def predicted(examples) -> Prediction:
    """The truth."""
    camera = examples.camera
    placement, count = torch.cat([camera.shift, camera.scale.log()[:, None]], 1), len(examples.images)
    state = State(torch.full((count, 2), 0.0), torch.zeros(count, 6, 9), camera.rotation, placement)
    return Prediction(state, BODY.expand(count, -1, -1), examples.vertices)


def test_imitation_of_the_truth_costs_nothing_and_more_the_farther_from_it():
    examples = toy_examples()
    truth = predicted(examples)
    found = imitation_losses(truth, examples)
    assert all(found[name].abs().max() < 1e-5 for name in ("vertices", "projection"))
    assert found["rotation"].max() < 1e-3
    assert torch.allclose(found["cluster"], torch.full((8,), np.log(2)).float(), atol=1e-5)
    turned = State(truth.state.basis_logits, truth.state.handles, about_z(torch.tensor(0.3)) @ truth.state.rotation,
                   truth.state.placement)
    worse = imitation_losses(Prediction(turned, truth.base, truth.vertices + 0.1), examples)
    assert torch.allclose(worse["rotation"], torch.full((8,), 0.3 / (1 + 0.3 / TURN_BOUND)), atol=1e-5)
    assert (worse["projection"] > 0.01).all()
    expected = np.sqrt(3 * 0.01 + 0.01**2) - 0.01
    assert torch.allclose(worse["vertices"], torch.full((8,), expected).float(), atol=1e-5)


def test_the_hypothesis_with_the_nearest_heading_should_be_probable_and_right():
    anchors = toy_model().anchors
    truth = about_z(torch.tensor([0.2])) @ anchors[2:3]
    rotations = anchors[None].clone()
    nearest = nearest_hypotheses(anchors, truth)
    assert nearest.tolist() == [2]
    even = hypotheses_loss(Hypotheses(rotations, torch.zeros(1, 4)), nearest, truth)
    assert even.item() == pytest.approx(0.3 * np.log(4) + 0.2, abs=1e-5)
    sure = torch.tensor([[0.0, 0, 9, 0]])
    right = rotations.clone()
    right[:, 2] = truth
    assert hypotheses_loss(Hypotheses(right, sure), nearest, truth).item() < 0.01
    assert hypotheses_loss(Hypotheses(right, sure.roll(1, 1)), nearest, truth).item() > 2
    assert angle_between(truth, anchors[2]).item() == pytest.approx(0.2, abs=1e-5)


def test_texture_trains_the_flow_and_leaves_mesh_and_camera_alone():
    model, examples = toy_model(), toy_examples()
    code = model.initial_prediction(examples.images, examples.masks).encoding.code
    found = texture_losses(model, code, predicted(examples), examples, RENDERER, None)
    assert found["texture"].max() < 0.5, "what follows from the true mesh paints it well"
    sum(value.sum() for value in found.values()).backward()
    trained = {name for name, value in model.named_parameters() if value.grad is not None and value.grad.any()}
    assert trained and all(name.startswith("flow_correction.") for name in trained)


def test_heatmaps_should_peak_where_the_fitted_meshes_have_the_landmarks():
    model, examples = toy_model(), toy_examples()
    positions = examples.camera.project(examples.vertices[:, model.landmarks])[..., :2]
    centres = pixel_centres((32, 32), torch.device("cpu")).float()
    near = -200 * (centres - positions[:, :, None, None]).square().sum(-1)
    code = torch.zeros(len(positions), 1)
    right, wrong = (landmark_loss(model, Encoding(code, *local_soft_argmax(heat), heat, examples.masks), examples)
                    for heat in (near, near.roll(8, -1)))
    assert (right < 3).all() and (wrong > 20).all()
