"""The job folder: requests and events as they are written and read back, and news of how far a run is."""

import io
import json
from dataclasses import fields, replace
from pathlib import Path

import pytest

from vmr_backend.job import (
    LARGEST_SEED,
    BadInput,
    Event,
    EventLog,
    FrameRotation,
    JobRequest,
    facing,
    write_whole,
)

FULL = JobRequest("/clips/föx.mp4", "/clips/masks", ["/clips/1.png", "/clips/2.png"], 3, 9, "vmr", "high", {"bones": 7},
                  "bird", "cuda:1", 5, None, [10.0, 20.5, 30.0, 40.0], 4, 812.5, [320.0, 241.5],
                  [facing(3, 0), facing(9, -120)], [facing(n, 7.5 * n) for n in range(3, 10)])
IDENTITY = [1, 0, 0, 0, 1, 0, 0, 0, 1]
DEEP = pytest.param("[" * 99999, id="nested without end")


def refusal(call) -> str:
    """The one line that bad input is told in."""
    with pytest.raises(BadInput) as error:
        call()
    assert len(str(error.value).splitlines()) == 1
    return str(error.value)


def job_of(folder, **values) -> Path:
    """A job folder whose job.json holds a valid request with some values replaced."""
    (folder / "job.json").write_text(json.dumps({"clip": "/fox.mp4"} | values), encoding="utf-8")
    return folder


@pytest.mark.parametrize("request_", [FULL, JobRequest("/fox.mp4")], ids=["full", "least"])
def test_a_request_comes_back_as_it_was_saved(tmp_path, request_):
    request_.save(tmp_path / "new" / "job")
    assert JobRequest.load(tmp_path / "new" / "job") == request_


def test_a_path_that_is_no_unicode_comes_back(tmp_path):
    request = JobRequest("/clips/\udcff.mp4")
    request.save(tmp_path)
    assert JobRequest.load(tmp_path) == request


@pytest.mark.parametrize("content", ["", "{", "[]", "3", "null", '"fox"', "{}", '{"clip": "a", "klip": "b"}',
                                     '{"clip": "a", }', "\x00", '{"clip": "a"', DEEP])
def test_what_is_no_request_is_told_in_one_line(tmp_path, content):
    (tmp_path / "job.json").write_text(content, encoding="utf-8")
    assert refusal(lambda: JobRequest.load(tmp_path)).startswith(f"{tmp_path / 'job.json'}: ")


def test_a_request_in_another_encoding_is_told(tmp_path):
    (tmp_path / "job.json").write_bytes('{"clip": "föx"}'.encode("latin-1"))
    assert "cannot be read as JSON" in refusal(lambda: JobRequest.load(tmp_path))


def test_a_truncated_request_is_told(tmp_path):
    FULL.save(tmp_path)
    whole = (tmp_path / "job.json").read_bytes()
    (tmp_path / "job.json").write_bytes(whole[:len(whole) // 2])
    assert "cannot be read as JSON" in refusal(lambda: JobRequest.load(tmp_path))


def test_an_unknown_field_is_told_with_the_known_ones(tmp_path):
    line = refusal(lambda: JobRequest.load(job_of(tmp_path, animal="fox")))
    assert all(f.name in line for f in fields(JobRequest))


def test_a_folder_without_a_request_is_told(tmp_path):
    assert refusal(lambda: JobRequest.load(tmp_path)) == f"{tmp_path / 'job.json'}: not found; a job folder holds one"


@pytest.mark.parametrize(("name", "value", "needs"), [
    ("clip", 3, "a text"), ("clip", None, "a text"), ("masks", ["a"], "a text or null"),
    ("files", "1.png", "a list of texts or null"), ("files", [1], "a list of texts or null"),
    ("first", 1.0, "a whole number or null"), ("last", "9", "a whole number or null"), ("first", True, "a whole"),
    ("method", None, "a text"), ("preset", 1, "a text"), ("settings", ["bones=3"], "an object"),
    ("settings", None, "an object"), ("model", 5, "a text or null"), ("device", 0, "a text"), ("seed", "0", "a whole"),
    ("renderer", None, "a text"), ("seed", False, "a whole number"), ("version", "1", "a whole number"),
    ("subject", "1", "a whole number or null"), ("subject", True, "a whole number"),
    ("box", "1,2,3,4", "a list of numbers or null"), ("box", ["1", 2, 3, 4], "a list of numbers"),
    ("at", 2.5, "a whole number or null"), ("focal_length", "800", "a number or null"),
    ("focal_length", [800], "a number or null"),
    ("principal_point", [True, 3], "a list of numbers or null"), ("principal_point", 320, "a list of numbers or null"),
])
def test_a_value_of_another_type_is_told_by_its_field(tmp_path, name, value, needs):
    line = refusal(lambda: JobRequest.load(job_of(tmp_path, **{name: value})))
    assert line.startswith(f"{tmp_path / 'job.json'}: {name}: found {value!r}, needs {needs}")


def test_a_number_longer_than_any_float_is_told(tmp_path):
    line = refusal(lambda: JobRequest.load(job_of(tmp_path, focal_length=10**400)))
    assert f"focal_length: found 1{'0' * 56}..., needs a number" in line
    assert "setting bones: found" in refusal(lambda: JobRequest.load(job_of(tmp_path, settings={"bones": 10**400})))


@pytest.mark.parametrize(("values", "line"), [
    ({"version": 2}, "version: found 2, needs 1"),
    ({"method": "magic"}, "method: found 'magic', needs one of auto, lasr, vmr, template"),
    ({"method": "template", "template": "dog", "model": "bird"},
     "model: found bird for the method 'template', which starts from its template; needs none"),
    ({"method": "auto", "model": "bird"},
     "model: found bird for the method 'auto', which looks at the footage first; needs none"),
    ({"renderer": "reference"}, "renderer: found 'reference', needs one of warp, pytorch3d"),
    ({"preset": "best"}, "preset: found 'best', needs one of preview, standard, high"),
    ({"first": 9, "last": 3}, "frames: found 9:3, needs the first before the last"),
    ({"settings": {"bones": "many"}}, "setting bones: found 'many', needs a whole number"),
    ({"settings": {"bones": {}}}, "setting bones: found {}, needs a whole number"),
    ({"seed": -1}, f"seed: found -1, needs 0 to {LARGEST_SEED}"),
    ({"seed": LARGEST_SEED + 1}, f"seed: found {LARGEST_SEED + 1}, needs 0 to {LARGEST_SEED}"),
    ({"subject": 0}, "subject: found 0, needs 1 to 255; 0 is the background"),
    ({"subject": 256}, "subject: found 256, needs 1 to 255; 0 is the background"),
    ({"subject": 2, "box": [0, 0, 9, 9]}, "subject: found a label and a box, needs one of them"),
    ({"box": [0, 0, 9]}, "box: found [0, 0, 9], needs left, top, width, height, the last two above 0"),
    ({"box": [0, 0, 9, 0]}, "box: found [0, 0, 9, 0], needs left, top, width, height, the last two above 0"),
    ({"at": 3}, "at: found frame 3 without a box, needs the box that it is for"),
    ({"focal_length": 0}, "focal_length: found 0, needs pixels above 0"),
    ({"focal_length": 1e308}, "focal_length: found 1e+308, needs 0.1 to 1e+09 pixels"),
    ({"focal_length": 1e-300}, "focal_length: found 1e-300, needs 0.1 to 1e+09 pixels"),
    ({"principal_point": [320, -1e300]}, "principal_point: found [320, -1e+300], needs pixels of the picture, at most "
                                         "1e+06 from its top left corner"),
    ({"box": [0, 0, 1e300, 9]}, "box: found [0, 0, 1e+300, 9], needs pixels of the picture, at most 1e+06 from its top "
                                "left corner"),
    ({"first": -2**31 - 1}, "frames: found frame -2147483649, needs -2147483648 to 2147483647"),
    ({"last": 2**31}, "frames: found frame 2147483648, needs -2147483648 to 2147483647"),
    ({"box": [0, 0, 9, 9], "at": 10**99}, f"at: found frame 1{'0' * 56}..., needs -2147483648 to 2147483647"),
    ({"focal_length": -1.5}, "focal_length: found -1.5, needs pixels above 0"),
    ({"principal_point": [1]}, "principal_point: found [1], needs two numbers, x and y"),
])
def test_a_request_that_cannot_be_carried_out_is_told(tmp_path, values, line):
    assert refusal(lambda: JobRequest.load(job_of(tmp_path, **values))) == f"{tmp_path / 'job.json'}: {line}"
    assert refusal(replace(JobRequest("/fox.mp4"), **values).check) == line


@pytest.mark.parametrize("name", ["hints", "camera_solve"])
@pytest.mark.parametrize(("entries", "line"), [
    ("front", 'found "front", needs a list of objects'), ({"frame": 1}, 'found {"frame": 1}, needs a list'),
    ([3], "found 3, needs an object with frame"), ([{"frame": 3}], 'found {"frame": 3}, needs an object'),
    ([{"frame": 3, "rotation": IDENTITY, "up": 1}], "needs an object with frame"),
    ([{"frame": 3.5, "rotation": IDENTITY}], "needs an object with frame, a whole number"),
    ([{"frame": 3, "rotation": ["1"] * 9}], "and rotation, 9 numbers"),
    ([{"frame": 3, "rotation": [float("nan")] * 9}], "and rotation, 9 numbers"),
    ([{"frame": 3, "rotation": IDENTITY[:8]}], "found no rotation at frame 3 ([1, 0, 0, 0, 1, 0, 0, 0]), needs 9"),
    ([{"frame": 3, "rotation": [2, *IDENTITY[1:]]}], "found no rotation at frame 3"),
    ([{"frame": 3, "rotation": [-1, *IDENTITY[1:]]}], "found no rotation at frame 3"),
    ([{"frame": 3, "rotation": [1e308] * 9}], "found no rotation at frame 3"),
    ([{"frame": 3, "rotation": [10**200, 0.5, *IDENTITY[2:]]}], "found no rotation at frame 3"),
    ([{"frame": 2**40, "rotation": IDENTITY}], f"found frame {2**40}, needs -2147483648 to 2147483647"),
    ([{"frame": 3, "rotation": IDENTITY}] * 2, "found frame 3 twice, needs it once"),
])
def test_what_is_no_rotation_at_a_frame_is_told_by_its_field(tmp_path, name, entries, line):
    said = refusal(lambda: JobRequest.load(job_of(tmp_path, **{name: entries})))
    assert said.startswith(f"{tmp_path / 'job.json'}: {name}: ") and line in said


def test_rotations_of_a_request_are_checked_before_it_is_saved():
    assert "hints: found no rotation at frame 5" in refusal(
        JobRequest("/fox.mp4", hints=[FrameRotation(5, [0.0] * 9)]).check)
    assert "needs a list of rotations" in refusal(JobRequest("/fox.mp4", hints=[{"frame": 5}]).check)


@pytest.mark.parametrize(("degrees", "front"), [
    (0, (0, 0, -1)), (90, (1, 0, 0)), (-90, (-1, 0, 0)), (180, (0, 0, 1)), (450, (1, 0, 0))])
def test_a_subject_faces_the_way_that_the_degrees_say_and_stands_upright(degrees, front):
    rows = [facing(2, degrees).rotation[i:i + 3] for i in (0, 3, 6)]
    assert [-row[1] for row in rows] == pytest.approx(front, abs=1e-12), "in camera axes: x right, z away"
    assert [row[2] for row in rows] == pytest.approx((0, -1, 0), abs=1e-12), "up is up in the picture"


def test_bad_input_is_one_line_whatever_it_names():
    assert str(BadInput("/clips/a\nb.mp4: cannot be read\r\n(damaged)")) == "/clips/a b.mp4: cannot be read (damaged)"


def test_a_file_in_place_of_the_folder_is_told(tmp_path):
    (tmp_path / "taken").write_text("a file")
    for folder in (tmp_path / "taken", tmp_path / "taken" / "job"):
        assert str(folder) in refusal(lambda folder=folder: JobRequest("/fox.mp4").save(folder))
        assert str(folder) in refusal(lambda folder=folder: JobRequest.load(folder))


@pytest.mark.parametrize("event", [
    Event("progress", "camera", 3, 10, 0.25, 12.5), Event("progress", "camera", 10, 10, 1.0, 0.0),
    Event("warning", message="frame 7: föx\nhides"), Event("done", fraction=1.0, message="/\udcff"), Event("error"),
])
def test_an_event_is_one_line_that_reads_back(event):
    line = event.line()
    assert "\n" not in line and line.isascii()
    assert Event.parse(line) == event


def test_an_event_of_a_later_version_is_read_as_far_as_it_is_known():
    assert Event.parse('{"event": "warning", "message": "a", "colour": "red"}') == Event("warning", message="a")


@pytest.mark.parametrize("line", [
    "", "Warp 1.5 initialised", "{", "[]", '["event"]', "7", "null", '"event"', "{}", '{"stage": "camera"}', DEEP,
    '{"event": 3}', '{"event": null}', '{"event": "progress", "fraction": "0"}', '{"event": "progress", "step": 0.5}',
    '{"event": "progress", "fraction": NaN}', '{"event": "progress", "seconds_left": [1]}',
    '{"event": "progress", "total": true}', '{"event": "error", "message": ["a"]}',
])
def test_a_line_that_is_no_event_is_passed_over(line):
    assert Event.parse(line) is None


class Clock:
    """Time that passes when told to."""

    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


class Run:
    """An event log with a clock in hand, and what it told."""

    def __init__(self, folder, **plan):
        self.clock, self.stream = Clock(), io.StringIO()
        self.log = EventLog(folder, self.stream, self.clock)
        self.log.plan(plan)

    def step(self, stage, step, total, seconds=1.0):
        """Let time pass and report; the last event told."""
        self.clock.now += seconds
        self.log.progress(stage, step, total)
        return self.events()[-1]

    def events(self):
        return [Event.parse(line) for line in self.stream.getvalue().splitlines()]


def test_the_fraction_is_that_of_the_whole_plan(tmp_path):
    run = Run(tmp_path, footage=1, camera=3, texture=6)
    news = [("footage", 1), ("footage", 2), ("camera", 1), ("camera", 2), ("texture", 1), ("texture", 2)]
    told = [run.step(stage, step, 2).fraction for stage, step in news]
    assert told == pytest.approx([0.05, 0.1, 0.25, 0.4, 0.7, 1.0])


def test_the_fraction_never_passes_one(tmp_path):
    run = Run(tmp_path, camera=1)
    assert run.step("camera", 12, 10).fraction == 1.0
    assert run.step("camera", 0, 0).fraction <= 1.0


def test_the_time_left_follows_from_the_time_taken(tmp_path):
    run = Run(tmp_path, footage=10, camera=90)
    assert run.step("footage", 1, 20, seconds=0.5).seconds_left is None, "too early to tell"
    assert run.step("footage", 10, 10, seconds=9.5).seconds_left == pytest.approx(90)
    assert run.step("camera", 1, 2, seconds=15).seconds_left == pytest.approx(25 / 55 * 45, abs=0.1)
    assert run.step("camera", 2, 2).seconds_left == 0.0


def test_a_resumed_run_does_not_count_what_it_finds_done_as_fast(tmp_path):
    run = Run(tmp_path, footage=10, camera=40, coarse=50)
    run.step("footage", 1, 1, seconds=10)
    news = run.step("coarse", 1, 2, seconds=25)
    assert news.fraction == 0.75
    assert news.seconds_left == pytest.approx(25)


def test_at_most_five_events_a_second_are_told_and_always_a_stages_last(tmp_path):
    run = Run(tmp_path, camera=1, coarse=1)
    for step in range(1, 101):
        run.step("camera", step, 100, seconds=0.01)
    assert 4 <= len(run.events()) <= 7
    assert run.events()[-1].step == 100
    assert run.step("coarse", 1, 1, seconds=0).stage == "coarse"


def test_events_go_to_the_reader_and_to_the_folder_and_later_runs_add_theirs(tmp_path):
    for message in ("one", "two"):
        run = Run(tmp_path)
        run.log.warning(message)
        assert [event.message for event in run.events()] == [message]
    lines = (tmp_path / "events.jsonl").read_text(encoding="utf-8").splitlines()
    assert [Event.parse(line) for line in lines] == [Event("warning", message="one"), Event("warning", message="two")]


def test_a_file_is_replaced_as_a_whole(tmp_path):
    write_whole(tmp_path / "a.bin", b"old")
    write_whole(tmp_path / "a.bin", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.bin", b"new")]


@pytest.mark.parametrize("broken", ["write", "replace"])
def test_the_old_file_stays_alone_where_writing_fails(tmp_path, monkeypatch, broken):
    def full(path, *_):
        with open(path, "wb") as file:
            file.write(b"ne")
        raise OSError(28, "No space left on device")

    write_whole(tmp_path / "a.bin", b"old")
    monkeypatch.setattr(*((Path, "write_bytes", full) if broken == "write" else ("vmr_backend.job.os.replace", full)))
    with pytest.raises(OSError, match="No space left"):
        write_whole(tmp_path / "a.bin", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("a.bin", b"old")]
