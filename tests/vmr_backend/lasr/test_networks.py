"""Networks over time: what they see of time, where they start, and that hypotheses do not know of one another."""

import math

import numpy as np
import pytest
import torch

from vmr_backend.lasr.networks import TimeNetwork, time_embedding

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


def test_time_goes_by_frame_numbers_not_by_places_in_the_list():
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
