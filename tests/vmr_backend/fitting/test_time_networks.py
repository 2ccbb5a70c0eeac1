"""Networks over time: what they see of time, where they start, and that hypotheses do not know of one another."""

import math

import numpy as np
import pytest
import torch

from vmr_backend.fitting.time_networks import TimeNetwork, cosine_waves, low_pass, time_embedding

NUMBERS = torch.tensor([10, 11, 13, 20])


def network(hypotheses=3, outputs=4) -> TimeNetwork:
    torch.manual_seed(0)
    return TimeNetwork(hypotheses, time_embedding(NUMBERS, 3), outputs)


def stirred(net: TimeNetwork) -> TimeNetwork:
    """With random weights everywhere, as after some fitting."""
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter)
    return net


def test_time_is_told_by_waves_that_fall_with_frequency():
    time = 2 * (NUMBERS.double().numpy() - 10) / 10 - 1
    waves = [[wave(math.pi / 2 * k * time) / math.sqrt(k) for k in (1, 2, 3)] for wave in (np.sin, np.cos)]
    expected = np.stack([time, *waves[0], *waves[1]], 1)
    assert np.allclose(time_embedding(NUMBERS, 3).numpy(), expected, atol=1e-6)


def test_time_goes_by_frame_numbers_not_by_indices_in_the_list():
    whole, gap = torch.arange(11), torch.tensor([0, 1, 5, 10])
    assert torch.allclose(time_embedding(whole, 4)[gap], time_embedding(gap, 4))
    assert torch.allclose(time_embedding(whole + 500, 4), time_embedding(whole, 4))


def test_a_single_frame_has_a_time():
    assert torch.isfinite(time_embedding(torch.tensor([7]), 2)).all()


def test_a_network_starts_at_zero_and_can_leave_it():
    net = network()
    assert net().shape == (3, 4, 4) and (net() == 0).all()
    (net() - 1).square().sum().backward()
    assert net.output.grad.abs().min() > 0


def test_hypotheses_start_differently():
    net = network()
    assert not torch.equal(net.hidden[0], net.hidden[1]) and not torch.equal(net.bias[0], net.bias[1])


def test_a_network_is_two_layers_for_each_hypothesis():
    net = stirred(network())
    time = time_embedding(NUMBERS, 3)
    for h, found in enumerate(net()):
        hidden = torch.tanh(time @ net.hidden[h] + net.bias[h])
        assert torch.allclose(found, hidden @ net.output[h] / math.sqrt(hidden.shape[1]), atol=1e-5)


@pytest.mark.parametrize("chosen", range(3))
def test_one_hypothesis_learns_nothing_from_anothers_error(chosen):
    net = stirred(network())
    net()[chosen].square().sum().backward()
    for parameter in net.parameters():
        others = [h for h in range(3) if h != chosen]
        assert parameter.grad[chosen].abs().sum() > 0 and (parameter.grad[others] == 0).all()


def test_values_that_a_network_can_have_are_approached_to_a_thousandth():
    net, truth = stirred(network()), stirred(network())
    with torch.no_grad():
        truth.hidden.copy_(net.hidden)
        truth.bias.copy_(net.bias)
        layers = net.hidden.clone(), net.bias.clone()
    net.approach(truth().detach())
    assert (net() - truth()).abs().max() < 1e-3 * truth().abs().max()
    assert torch.equal(net.hidden, layers[0]) and torch.equal(net.bias, layers[1])


FORTY = torch.arange(40) + 0.5
WAVES = cosine_waves(40).float()


@pytest.mark.parametrize(("half_periods", "min_period", "kept"),
                         [(0, 40, 1), (1, 60, 1), (2, 30, 1), (3, 20, 1), (4, 20, 0.5), (5, 20, 0), (8, 20, 0),
                          (39, 1.5, 1), (39, 0, 1), (39, 4, 0)])
def test_of_a_path_only_what_takes_longer_than_asked_for_is_kept(half_periods, min_period, kept):
    path = torch.stack([torch.cos(math.pi * half_periods * FORTY / 40), 0 * FORTY], 1)
    assert torch.allclose(low_pass(path, WAVES, min_period), kept * path, atol=1e-5)


def test_the_low_pass_of_a_path_that_does_not_close_keeps_its_ends_apart():
    path = torch.linspace(-1, 1, 40)[:, None]
    assert (low_pass(path, WAVES, 10.0) - path).abs().max() < 0.1


def test_few_frames_are_approached_whatever_their_values():
    torch.manual_seed(0)
    net, values = TimeNetwork(2, time_embedding(torch.arange(6), 3), 5, 96), torch.randn(2, 6, 5)
    net.approach(values)
    assert (net() - values).abs().max() < 0.02


@pytest.mark.parametrize("noise", [0.0, 0.3])
def test_of_more_frames_than_width_the_approach_is_the_least_squares_fit(noise):
    torch.manual_seed(0)
    net = TimeNetwork(2, time_embedding(torch.arange(120), 8), 5, 12)
    time = torch.linspace(0, 6, 120)[:, None]
    values = torch.sin(time * torch.arange(1, 6) / 2).expand(2, -1, -1) + noise * torch.randn(2, 120, 5)
    net.approach(values)
    for h in range(2):
        hidden = (torch.tanh(net.embedding @ net.hidden[h] + net.bias[h]) / math.sqrt(12)).detach().double().numpy()
        best, target = np.linalg.lstsq(hidden, values[h].double().numpy(), rcond=None)[0], values[h].numpy()
        found = net.output[h].detach().double().numpy()
        ridge = 1e-5 * (hidden**2).sum(0).mean()
        cost = {"found": found, "best": best, "none": 0 * best, "less": 0.99 * found}
        cost = {name: ((hidden @ w - target) ** 2).sum() + ridge * (w**2).sum() for name, w in cost.items()}
        assert cost["found"] <= min(cost.values()) * (1 + 1e-6)
        assert ((net()[h].detach().numpy() - target) ** 2).mean() < ((hidden @ best - target) ** 2).mean() + 2e-3
