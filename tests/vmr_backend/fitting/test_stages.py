"""Stages of a fit: each is done once, is timed, and goes by the same chance however often a run was stopped."""

import pytest
import torch

from vmr_backend.fitting.stages import Course, Stages
from vmr_backend.job import BadInput

NAMES = ("camera", "coarse", "fine")
IDENTITY = {"settings": {"bones": 7}, "model": None}


class Interrupted(Exception):
    pass


def drawn(course: Course, identity=IDENTITY, until=None) -> tuple[dict[str, list], Stages]:
    """Random numbers that each stage drew, those of completed stages as the checkpoint has them; and the stages."""
    stages, numbers = Stages(course, identity), {}
    if stages.found:
        stages.resumed(lambda found: numbers.update(found.facts["numbers"]))
    stages.state = lambda: ({"numbers": numbers}, {"last": torch.tensor(numbers[list(numbers)[-1]])})
    for name in NAMES:

        def work(random, report, name=name):
            report(1, 2)
            if name == until:
                raise Interrupted
            numbers[name] = [float(random.random()), float(torch.rand(()))]
            report(2, 2)

        torch.rand(5)  # what happens between stages decides nothing in them
        stages.run(name, work)
    return numbers, stages


def test_stages_run_in_order_are_timed_and_told():
    told = []
    numbers, stages = drawn(Course(3, lambda *news: told.append(news)))
    assert told == [(name, step, 2) for name in NAMES for step in (1, 2)]
    assert list(stages.seconds) == list(NAMES) and all(seconds >= 0 for seconds in stages.seconds.values())
    assert len({tuple(values) for values in numbers.values()}) == 3, "each from a seed of its own"
    assert drawn(Course(3))[0] == numbers != drawn(Course(4))[0]


@pytest.mark.parametrize("until", NAMES[1:])
def test_a_resumed_run_leaves_out_what_is_done_and_draws_what_it_would_have(tmp_path, until):
    whole, _ = drawn(Course(3))
    with pytest.raises(Interrupted):
        drawn(Course(3, folder=tmp_path), until=until)
    told = []
    numbers, stages = drawn(Course(3, lambda *news: told.append(news[0]), folder=tmp_path, resume=True))
    assert numbers == whole and list(stages.seconds) == list(NAMES)
    assert list(dict.fromkeys(told)) == list(NAMES[NAMES.index(until):])
    told.clear()
    assert drawn(Course(3, lambda *news: told.append(news), folder=tmp_path, resume=True))[0] == whole and not told


def test_a_run_that_is_not_to_be_resumed_or_has_no_checkpoint_starts_anew(tmp_path):
    assert Stages(Course(3, folder=tmp_path, resume=True), IDENTITY).found is None
    drawn(Course(3, folder=tmp_path))
    assert Stages(Course(3, folder=tmp_path), IDENTITY).found is None
    assert Stages(Course(3, folder=tmp_path, resume=True), IDENTITY).found is not None


@pytest.mark.parametrize("identity", [{"settings": {"bones": 8}, "model": None}, IDENTITY | {"model": {"iou": 0.5}},
                                      IDENTITY | {"body": "sphere"}])
def test_a_checkpoint_of_another_fit_is_refused_in_one_line(tmp_path, identity):
    drawn(Course(3, folder=tmp_path))
    with pytest.raises(BadInput) as refused:
        drawn(Course(3, folder=tmp_path, resume=True), identity)
    (line,) = str(refused.value).splitlines()
    assert line.startswith(f"{tmp_path}: ") and line.endswith("run again without resuming")


@pytest.mark.parametrize("error", [KeyError, TypeError, ValueError, RuntimeError])
def test_a_checkpoint_that_cannot_be_taken_over_is_refused_as_well(tmp_path, error):
    drawn(Course(3, folder=tmp_path))
    stages = Stages(Course(3, folder=tmp_path, resume=True), IDENTITY)

    def restore(_):
        raise error("tensors of another shape")

    with pytest.raises(BadInput, match="run again without resuming"):
        stages.resumed(restore)
