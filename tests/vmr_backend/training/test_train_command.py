"""What `train` is asked for, and how that may differ when it goes on."""

import json

import pytest

from vmr_backend.job import BadInput
from vmr_backend.training.command import REQUEST_NAME, parser, prepare


def prepared(out, *arguments):
    return prepare(parser().parse_args(["--out", str(out), *map(str, arguments)]))


def test_a_request_is_kept_and_taken_up_again(tmp_path):
    asked = prepared(tmp_path, "pictures", "--steps", 50, "--set", "bases=3", "--seed", 4)
    assert asked.settings == {"steps": 50, "bases": 3} and (asked.seed, asked.renderer) == (4, "warp")
    assert json.loads((tmp_path / REQUEST_NAME).read_text())["settings"] == asked.settings
    assert prepared(tmp_path, "--resume") == asked
    assert prepared(tmp_path, "pictures", "--set", "bases=3", "--seed", 4, "--resume") == asked


def test_a_request_of_before_the_refinements_had_their_name_is_read(tmp_path):
    asked = prepared(tmp_path, "pictures", "--set", "refinements=2")
    path = tmp_path / REQUEST_NAME
    path.write_text(path.read_text().replace("refinements", "looks"))
    assert prepared(tmp_path, "--resume") == asked == prepared(tmp_path, "pictures", "--set", "looks=2")


@pytest.mark.parametrize("again", [(), ("pictures", "--set", "bases=3")], ids=["alone", "with all else"])
def test_it_goes_on_with_other_steps(tmp_path, again):
    prepared(tmp_path, "pictures", "--steps", 50, "--set", "bases=3")
    assert prepared(tmp_path, *again, "--steps", 80, "--resume").settings == {"steps": 80, "bases": 3}
    assert prepared(tmp_path, "--resume").settings["steps"] == 80


@pytest.mark.parametrize(("again", "said"), [
    (("pictures", "--seed", 1), "another seed"), (("pictures", "--set", "bases=4"), "another settings"),
    (("pictures", "--renderer", "pytorch3d"), "another renderer"),
    (("other",), "another collection"), (("--steps", 1), "steps")], ids=str)
def test_it_does_not_go_on_as_another_training(tmp_path, again, said):
    asked = prepared(tmp_path, "pictures", "--steps", 50)
    with pytest.raises(BadInput, match=said) as caught:
        prepared(tmp_path, *again, "--resume")
    assert "\n" not in str(caught.value)
    assert prepared(tmp_path, "--resume") == asked, "and what was asked for stays"
