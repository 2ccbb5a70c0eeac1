"""The command line on a tiny clip: results, news, resuming, and one line for whatever cannot be used."""

import contextlib
import io
import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from vmr_backend import cli
from vmr_backend.checkpoint import FACTS, TENSORS
from vmr_backend.job import LOCK_NAME, PICTURES, RUN_NAME, WHOLE_NAME, Cancelled, Event, JobRequest, facing
from vmr_backend.metrics.coverage import never_seen
from vmr_backend.metrics.viewpoints import turn
from vmr_backend.outputs.overlay import overlay_frame
from vmr_backend.reconstruction import FILE_NAME, SNAPSHOT_NAME, Reconstruction
from vmr_backend.settings import Settings

PROGRAM = Path(cli.__file__).with_name("__main__.py")
QUICK = {"crop_size": 64, "hypotheses": 2, "rigid_iterations": 20, "coarse_iterations": 20, "fine_iterations": 2,
         "subdivision": 3, "bones": 4, "frames_per_iteration": 4, "texture_size": 64}
QUICKLY = [part for name, value in QUICK.items() for part in ("--set", f"{name}={value}")]
FIRST, FRAMES = 10, 6
RESULT = {"job.json", "events.jsonl", FILE_NAME, "texture.png", "report.json", "overlay.mp4", "preview.png",
          LOCK_NAME}


@dataclass(frozen=True)
class Clip:
    frames: Path
    masks: Path

    def command(self, out: Path, *more: str) -> list[str]:
        given = ["--masks", str(self.masks), "--out", str(out), "--device", "cpu"]
        return ["reconstruct", str(self.frames), *given, *more]


def write(folder: Path, images, first=FIRST) -> Path:
    folder.mkdir(parents=True)
    for number, image in enumerate(images, first):
        cv2.imwrite(str(folder / f"{number:04d}.png"), image)
    return folder


@pytest.fixture(scope="module")
def clip(egg_from_one_side, tmp_path_factory) -> Clip:
    folder = tmp_path_factory.mktemp("clip")
    return Clip(write(folder / "frames", [image[..., ::-1] for image in egg_from_one_side.images[:FRAMES]]),
                write(folder / "masks", [mask * np.uint8(255) for mask in egg_from_one_side.masks[:FRAMES]]))


@dataclass(frozen=True)
class Run:
    status: int
    out: str
    err: str

    @property
    def events(self) -> list[Event]:
        return [Event.parse(line) for line in self.out.splitlines()]


def run(*command: str) -> Run:
    """A command within this process, as one of its own would end."""
    out, err = io.StringIO(), io.StringIO()
    threads = torch.get_num_threads()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        status = cli.main([str(part) for part in command])
    torch.set_num_threads(threads)
    return Run(status, out.getvalue(), err.getvalue())


def start(*command: str, **options) -> subprocess.Popen:
    """A command as Blender starts it: by the file, without search path and environment."""
    return subprocess.Popen([sys.executable, "-I", "-u", str(PROGRAM), *map(str, command)], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, encoding="utf-8", **options)


def refusal(run: Run) -> str:
    """The one line on standard error of bad input."""
    assert run.status == 2, run
    (line,) = run.err.splitlines()
    assert "Traceback" not in line
    if run.out:
        assert run.events[-1] == Event("error", message=line), "Blender hears the same"
    return line


@pytest.fixture(scope="module", autouse=True)
def small_pictures():
    """Drawn in a fraction of the time; a process of its own draws them as large as ever."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vmr_backend.outputs.preview.CELL", 80)
        patch.setattr("vmr_backend.outputs.overlay.MIN_HEIGHT", 100)
        yield


@pytest.fixture(scope="module")
def job(clip, tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("job")


@pytest.fixture(scope="module")
def done(clip, job) -> Run:
    return run(*clip.command(job, *QUICKLY))


def test_a_run_leaves_all_that_the_format_names_and_nothing_else(job, done):
    assert done.status == 0 and done.err == ""
    assert {path.name for path in job.iterdir()} == RESULT
    assert [*cv2.imread(str(job / "texture.png")).shape] == [64, 128, 3]
    for name in ("preview.png", "overlay.mp4"):
        assert (job / name).stat().st_size > 1000
    assert cv2.VideoCapture(str(job / "overlay.mp4")).get(cv2.CAP_PROP_FRAME_COUNT) == FRAMES


def test_a_runs_result_is_that_of_its_clip(job, done):
    result = Reconstruction.load(job)
    assert result.frames.tolist() == list(range(FIRST, FIRST + FRAMES))
    assert result.image_size.tolist() == [120, 100]
    assert len(result.bone_parents) - QUICK["bones"] in (0, 1), "one more where a pair of bones comes last"


def test_a_run_tells_how_far_it_is_until_it_is_done(job, done):
    *news, last = done.events
    assert last == Event("done", fraction=1.0, message=str(job))
    fractions = [event.fraction for event in news if event.event == "progress"]
    assert fractions == sorted(fractions) and fractions[0] < 0.1 and fractions[-1] == 1.0
    stages = list(dict.fromkeys(event.stage for event in news if event.event == "progress"))
    assert stages == ["footage", "camera", "coarse", "fine", "finest", "texture", "measures", "pictures"]
    assert [event.event for event in news if event.event not in ("progress", "warning")] == ["result"]
    assert (job / "events.jsonl").read_text(encoding="utf-8") == done.out


def test_a_run_writes_down_what_was_asked_for_and_how_well_it_went(clip, job, done):
    request = JobRequest.load(job)
    assert request == JobRequest(str(clip.frames), str(clip.masks), settings=QUICK, device="cpu", renderer="warp")
    report = json.loads((job / "report.json").read_text(encoding="utf-8"))
    assert report["settings"] == dict(Settings().with_values(QUICK).items())
    assert [stage["name"] for stage in report["stages"]] == [
        "footage", "camera", "coarse", "fine", "finest", "texture", "measures"]
    assert len(report["hypotheses"]) == 2 and report["hypotheses"][0]["kept"]
    assert report["lens"]["source"] == "assumed" and report["lens"]["field_of_view"] == pytest.approx(30)
    assert report["scores"]["scored_frames"] == FRAMES and report["scores"]["J"] > 0.75


def test_a_run_says_how_far_to_trust_it_and_warns_where_one_should_not(job, done):
    report, result = json.loads((job / "report.json").read_text(encoding="utf-8")), Reconstruction.load(job)
    assert len(result.coverage) == result.vertices.shape[1] and 0 < result.coverage.max() <= 1
    assert report["never_seen"] == pytest.approx(never_seen(result, result.coverage), rel=1e-5)
    assert report["turn"] == pytest.approx(turn(result), rel=1e-5) and report["rival_gap"] >= 0
    assert [entry["frame"] for entry in report["frames"] if entry["doubt"] >= 0.5] == report["doubtful_frames"]
    assert all(0 <= entry["doubt"] <= 1 for entry in report["frames"])
    warned = [event.message for event in done.events if event.event == "warning"]
    assert (report["verdict"]["sentence"] in warned) == (report["verdict"]["trust"] != "good")
    assert report["warnings"] == warned


def test_evaluate_agrees_with_the_report(clip, job, done):
    scored = run("evaluate", job, "--masks", clip.masks)
    assert scored.status == 0
    assert json.loads(scored.out) == pytest.approx(json.loads((job / "report.json").read_text())["scores"], rel=1e-5)


def test_a_film_of_narrow_pixels_gives_the_same_in_its_own_pixels(clip, job, done, tmp_path):
    narrow = Clip(*(write(tmp_path / folder.name, [cv2.resize(image, (image.shape[1] * 3 // 4, image.shape[0]))
                                                   for image in map(cv2.imread, map(str, sorted(folder.iterdir())))])
                    for folder in (clip.frames, clip.masks)))
    assert run(*narrow.command(tmp_path / "job", *QUICKLY, "--pixel-aspect", "4:3")).status == 0
    found, true = Reconstruction.load(tmp_path / "job"), Reconstruction.load(job)
    assert found.image_size.tolist() == [true.image_size[0] * 3 // 4, true.image_size[1]]
    np.testing.assert_allclose(found.intrinsics[:, 0] / found.intrinsics[:, 1], 0.75, rtol=1e-4)
    np.testing.assert_allclose(found.intrinsics * [4 / 3, 1, 4 / 3, 1], true.intrinsics, rtol=0.1)
    fit = json.loads((tmp_path / "job" / "report.json").read_text("utf-8"))["scores"]["J"]
    assert fit > json.loads((job / "report.json").read_text("utf-8"))["scores"]["J"] - 0.1
    own = run("evaluate", tmp_path / "job", "--masks", narrow.masks)
    assert json.loads(own.out)["J"] == pytest.approx(fit, abs=0.02), "masks in the film's own pixels fit its result"
    movie, shown = cv2.VideoCapture(str(tmp_path / "job" / "overlay.mp4")), found.resized(*true.image_size)
    texture = cv2.imread(str(tmp_path / "job" / "texture.png"))[..., ::-1]
    for index, path in enumerate(sorted(narrow.frames.iterdir())):
        image = cv2.resize(cv2.imread(str(path))[..., ::-1], tuple(map(int, true.image_size)))
        drawn = overlay_frame(shown, texture, image, index)
        assert np.abs(movie.read()[1][..., ::-1].astype(int) - drawn).mean() < 8, "shown in square pixels"


def test_a_range_of_frames_and_the_seed_are_taken_and_an_earlier_run_leaves_no_news(clip, done, tmp_path):
    (tmp_path / "events.jsonl").write_text(Event("done").line() + "\n")
    (tmp_path / FILE_NAME).write_bytes(b"of an earlier run")
    (tmp_path / "job.json").write_text('{"clip": "of an earlier version", "version": 0}')
    (tmp_path / "notes of mine.txt").write_bytes(b"")
    few = ["--set", "coarse_iterations=10", "--set", "fine_iterations=0", "--seed", "7", "--frames", "12:14"]
    found = run(*clip.command(tmp_path, *QUICKLY, *few))
    assert found.status == 0
    assert Reconstruction.load(tmp_path).frames.tolist() == [12, 13, 14]
    assert JobRequest.load(tmp_path).seed == 7
    assert (tmp_path / "events.jsonl").read_text() == found.out
    assert {path.name for path in tmp_path.iterdir()} == RESULT | {"notes of mine.txt"}


def test_auto_leaves_the_method_that_it_took_and_goes_on_with_that(clip, tmp_path):
    found = run(*clip.command(tmp_path, *QUICKLY, "--method", "auto"))
    took, = [event.message for event in found.events if event.event == "warning" and event.message.startswith("Auto")]
    request, report = JobRequest.load(tmp_path), json.loads((tmp_path / "report.json").read_text(encoding="utf-8"))
    assert request.method == report["request"]["method"] == "lasr" and "lasr" in took and took in report["warnings"]
    assert "recognition" in {stage["name"] for stage in report["stages"]}
    fractions = [event.fraction for event in found.events if event.event == "progress"]
    assert fractions[-1] == 1 and all(0 <= fraction <= 1 for fraction in fractions)
    resumed = run(*clip.command(tmp_path, *QUICKLY, "--method", "auto", "--resume"))
    assert resumed.status == 0 and "finished" in resumed.out
    assert "another method" in refusal(run(*clip.command(tmp_path, *QUICKLY, "--method", "vmr", "--model", "bird",
                                                         "--resume")))


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def test_a_finished_run_has_nothing_to_resume(clip, job, done):
    before = contents(job)
    for command in (["reconstruct", "--out", job], ["reconstruct", "--job", job], clip.command(job, *QUICKLY)):
        again = run(*command, "--resume")
        assert again.status == 0 and "nothing is left to resume" in again.events[0].message
        assert again.events[-1] == Event("done", fraction=1.0, message=str(job))
    assert "another seed" in refusal(run(*clip.command(job, *QUICKLY, "--seed", "5", "--resume")))
    assert contents(job) == before


def test_two_runs_do_not_work_in_one_folder_and_one_that_watches_its_standard_input_ends_with_it(clip, tmp_path):
    endless = QUICK | {"coarse_iterations": 20000}
    JobRequest(str(clip.frames), str(clip.masks), settings=endless, device="cpu").save(tmp_path)
    with start("reconstruct", "--job", tmp_path, "--watch-stdin", stdin=subprocess.PIPE) as process:
        assert Event.parse(process.stdout.readline()).event == "progress"
        for command in (["reconstruct", "--job", tmp_path], ["reconstruct", "--out", tmp_path, "--resume"],
                        ["segment", clip.frames, "--out", tmp_path, "--box", "1,2,30,30"]):
            assert f"{tmp_path}: another run is at work there (process {process.pid}" in refusal(run(*command))
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(60) == 3
        assert "Traceback" not in process.stderr.read()
    assert not (tmp_path / FILE_NAME).exists()
    assert "90:99" in refusal(run(*clip.command(tmp_path, *QUICKLY, "--frames", "90:99"))), "who is gone holds nothing"


@pytest.mark.parametrize("strange", [
    "texture.png", "preview.png", "job.json", "events.jsonl", FILE_NAME, "texture.png/mine", "run", "run/of mine.txt",
    "run/job.json", "run/job.json + notes"])
def test_files_that_no_run_has_made_are_not_replaced(clip, tmp_path, strange):
    if strange == "run/job.json + notes":
        JobRequest(str(clip.frames)).save(tmp_path / "run")
        strange = "run/notes"
    (tmp_path / strange).parent.mkdir(exist_ok=True)
    (tmp_path / strange).write_bytes(b'{"jobs": "mine"}')
    assert "no run has made; choose another folder" in refusal(run(*clip.command(tmp_path, *QUICKLY)))
    assert (tmp_path / strange).read_bytes() == b'{"jobs": "mine"}'


def test_a_link_to_another_folder_is_no_run(clip, tmp_path):
    JobRequest(str(clip.frames)).save(tmp_path / "elsewhere")
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "run").symlink_to(tmp_path / "elsewhere")
    assert "no run has made; choose another folder" in refusal(run(*clip.command(tmp_path / "out", *QUICKLY)))
    assert JobRequest.load(tmp_path / "elsewhere")


def as_if_killed(job: Path, folder: Path, moved: int, marked: bool) -> None:
    """A folder with another result, as if its successor, which is whole, had been killed as some files were moved."""
    (folder / RUN_NAME).mkdir(parents=True)
    for name in RESULT - {LOCK_NAME}:
        (folder / name).write_bytes(b'{"clip": "before"}')
    for n, name in enumerate(sorted(RESULT - {LOCK_NAME, *PICTURES})):
        shutil.copy(job / name, folder if n < moved else folder / RUN_NAME)
    (folder / RUN_NAME / "whole.part").write_bytes(b"")
    if marked:
        (folder / RUN_NAME / WHOLE_NAME).write_bytes(b"")


def alike(folder: Path, besides: set[str]) -> dict[str, bytes]:
    """The contents of a folder without those of some files, which differ from run to run."""
    return contents(folder) | dict.fromkeys({LOCK_NAME, *besides}, b"")


@pytest.mark.parametrize(("comes", "moved"), [*(("loads", moved) for moved in (0, 1, 4, 5)), ("resumes", 4)])
def test_a_result_whose_files_were_on_their_way_is_whole_for_whoever_comes_next(job, done, tmp_path, moved, comes):
    as_if_killed(job, tmp_path, moved, marked=True)
    if comes == "loads":
        assert Reconstruction.load(tmp_path)
        assert not any((tmp_path / name).exists() for name in PICTURES), "those of before are of another result"
        assert alike(tmp_path, set(PICTURES)) == alike(job, set(PICTURES))
    else:
        resumed = run("reconstruct", "--out", tmp_path, "--resume")
        assert {event.stage for event in resumed.events} == {"pictures", ""} and resumed.events[-1].event == "done"
        assert alike(tmp_path, {"events.jsonl"}) == alike(job, {"events.jsonl"})
    assert not (tmp_path / RUN_NAME).exists()


def test_pictures_of_before_that_cannot_be_removed_are_named_and_the_new_result_waits(job, done, tmp_path):
    as_if_killed(job, tmp_path, 0, marked=True)
    (tmp_path / "preview.png").unlink()
    (tmp_path / "preview.png").mkdir()
    for _ in range(2):
        assert "preview.png: cannot be replaced" in refusal(run("reconstruct", "--out", tmp_path, "--resume"))
    (tmp_path / "preview.png").rmdir()
    assert run("reconstruct", "--out", tmp_path, "--resume").status == 0
    assert alike(tmp_path, {"events.jsonl"}) == alike(job, {"events.jsonl"})


def test_a_run_that_was_killed_when_all_was_made_only_takes_its_place(job, done, tmp_path):
    as_if_killed(job, tmp_path, 0, marked=False)
    (tmp_path / RUN_NAME / SNAPSHOT_NAME).write_bytes(b"")
    resumed = run("reconstruct", "--out", tmp_path, "--resume")
    assert resumed.status == 0 and {event.stage for event in resumed.events} == {"", "pictures"}
    assert [event.event for event in resumed.events if event.event != "progress"] == ["result", "done"]
    assert alike(tmp_path, {"events.jsonl", "job.json"}) == alike(job, {"events.jsonl", "job.json"})
    assert not (tmp_path / RUN_NAME).exists()


def test_killed_as_its_pictures_are_drawn_a_result_stands_alone_and_a_resumed_run_draws_them(job, done, tmp_path):
    as_if_killed(job, tmp_path, 0, marked=False)
    with start("reconstruct", "--out", tmp_path, "--resume") as process:
        while Event.parse(process.stdout.readline()).event != "progress":
            assert process.poll() is None
        process.send_signal(signal.SIGSTOP)
        assert not (tmp_path / "preview.png").exists() and Reconstruction.load(tmp_path)
        for command in (["--job", tmp_path], ["--out", tmp_path, "--resume"]):
            assert "another run is at work there" in refusal(run("reconstruct", *command))
        process.kill()
    told = (tmp_path / "events.jsonl").read_text()
    resumed = run("reconstruct", "--out", tmp_path, "--resume")
    *drawn, last = resumed.events
    assert {event.stage for event in drawn} == {"pictures"} and drawn[-1].fraction == 1.0
    assert resumed.status == 0 and last == Event("done", fraction=1.0, message=str(tmp_path))
    assert (tmp_path / "events.jsonl").read_text() == told + resumed.out
    assert alike(tmp_path, {"events.jsonl", "job.json"}) == alike(job, {"events.jsonl", "job.json"})


def vanish(frames: Path) -> None:
    frames.rename(frames.with_name("unplugged"))


def shrink(frames: Path) -> None:
    for path in frames.iterdir():
        cv2.imwrite(str(path), cv2.imread(str(path))[:50])


@pytest.mark.parametrize("happens, words", [
    (vanish, "no such file or folder"), (shrink, "found other frames than the result is of"),
    (lambda frames: (frames / f"{FIRST + 2:04d}.png").unlink(), "found other frames than the result is of"),
    (lambda frames: (frames / f"{FIRST + 2:04d}.png").write_bytes(b"no image"), "found no complete image")],
    ids=["vanished", "of another size", "one is gone", "one is damaged"])
def test_a_result_stands_though_the_footage_is_lost_before_its_pictures_are_drawn(
        clip, job, done, tmp_path, monkeypatch, happens, words):
    frames, out = tmp_path / "frames", tmp_path / "out"
    shutil.copytree(clip.frames, frames)

    def run_job(folder, *_):
        for name in (FILE_NAME, "texture.png", "report.json"):
            shutil.copy(job / name, folder)
        happens(frames)

    monkeypatch.setattr("vmr_backend.run.run_job", run_job)
    found = run(*Clip(frames, clip.masks).command(out))
    line = refusal(found)
    assert words in line and line.endswith("; the result is whole: --resume draws its pictures")
    assert [event.event for event in found.events if event.event != "progress"] == ["result", "error"]
    kept = {LOCK_NAME, "job.json", "events.jsonl", FILE_NAME, "texture.png", "report.json"}
    assert {path.name for path in out.iterdir()} == kept
    assert refusal(run("reconstruct", "--out", out, "--resume")).startswith(line.partition("; ")[0])
    shutil.copytree(clip.frames, frames, dirs_exist_ok=True)
    assert run("reconstruct", "--out", out, "--resume").status == 0
    assert {path.name for path in out.iterdir()} == RESULT


@pytest.mark.skipif(sys.platform == "win32", reason="there are no limits of files")
@pytest.mark.parametrize("picture", PICTURES)
def test_a_result_stands_where_the_disk_is_full_before_its_pictures_are_drawn(job, done, tmp_path, picture):
    import resource

    shutil.copytree(job, tmp_path, dirs_exist_ok=True)
    (tmp_path / picture).unlink()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    smaller = min((job / name).stat().st_size for name in PICTURES)
    assert (job / "overlay.mp4").stat().st_size < (job / "preview.png").stat().st_size
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (smaller + (-500 if picture == "overlay.mp4" else 500), limits[1]))
        found = run("reconstruct", "--out", tmp_path, "--resume")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert found.status in (1, 2), found
    assert ("overlay.mp4: cannot be written whole" if picture == "overlay.mp4" else "File too large") in found.out
    assert "the result is whole: --resume draws its pictures" in found.events[-1].message
    assert {path.name for path in tmp_path.iterdir()} == RESULT - {picture}


def test_a_stopped_run_that_cannot_go_on_yet_stays(clip, job, done, tmp_path):
    shutil.copytree(job, tmp_path, dirs_exist_ok=True)
    gone = tmp_path / "unplugged"
    JobRequest(str(gone / "frames"), str(clip.masks), settings=QUICK).save(tmp_path / RUN_NAME)
    for _ in range(2):
        assert "no such file or folder" in refusal(run("reconstruct", "--out", tmp_path, "--resume"))
    assert JobRequest.load(tmp_path / RUN_NAME).clip == str(gone / "frames")


def test_a_run_of_another_version_is_not_resumed_but_done_anew(clip, tmp_path):
    (tmp_path / RUN_NAME).mkdir()
    (tmp_path / RUN_NAME / "job.json").write_text('{"clip": "a", "version": 99, "colour": "of later"}')
    line = refusal(run("reconstruct", "--out", tmp_path, "--resume"))
    assert "no request of this version" in line and "without --resume" in line
    assert "90:99" in refusal(run(*clip.command(tmp_path, *QUICKLY, "--frames", "90:99")))
    assert not (tmp_path / RUN_NAME).exists()


def wait_for(condition, process: subprocess.Popen, seconds=120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.005)


def test_a_killed_run_goes_on_from_its_checkpoint_to_the_same_result_and_an_earlier_one_stays_until_then(
        clip, job, done, tmp_path):
    shutil.copytree(job, tmp_path, dirs_exist_ok=True)
    result = Reconstruction.load(job)
    replace(result, vertices=2 * result.vertices).save(tmp_path)
    replace(JobRequest.load(job), seed=3).save(tmp_path)
    before = contents(tmp_path)
    assert "90:99" in refusal(run(*clip.command(tmp_path, *QUICKLY, "--frames", "90:99")))
    assert contents(tmp_path) == before and not (tmp_path / RUN_NAME).exists()
    with start(*clip.command(tmp_path, *QUICKLY)) as process:
        stopped = tmp_path / RUN_NAME
        wait_for((stopped / FACTS).exists, process)
        wait_for((stopped / SNAPSHOT_NAME).exists, process)
        process.kill()
    assert {name: contents(tmp_path)[name] for name in before} == before
    assert len(Reconstruction.load(stopped, SNAPSHOT_NAME).frames) == len(result.frames)
    told = (stopped / "events.jsonl").read_text()
    resumed = run("reconstruct", "--out", tmp_path, "--resume")
    assert resumed.status == 0
    stages = {event.stage for event in resumed.events}
    assert "camera" not in stages and {"footage", "finest", "texture"} <= stages
    assert (tmp_path / "events.jsonl").read_text() == told + resumed.out
    assert {path.name for path in tmp_path.iterdir()} == RESULT and JobRequest.load(tmp_path).seed == 0
    found = Reconstruction.load(tmp_path)
    for f in fields(Reconstruction):
        assert np.array_equal(getattr(found, f.name), getattr(result, f.name)), f.name


FILM = "reconstruct {frames} --out {here}/out"
WHOLE = FILM + " --masks {masks} --device cpu"
MARKED = "segment {frames} --out {here}/out"
BAD_INPUTS = {
    "no command": ("", "command: found none", "reconstruct"),
    "unknown command": ("recontsruct", "command: found 'recontsruct'", "reconstruct"),
    "masks of no clip": ("segment --box 1,2,3,4 --out {here}/out", "found no clip", "CLIP"),
    "masks without a folder": ("segment {frames} --box 1,2,3,4", "--out DIR"),
    "masks of nothing": (MARKED, "nothing marked", "a box"),
    "masks of what is none": (MARKED + " --outside 3,4", "only points off the subject"),
    "marked box outside": (MARKED + " --box 500,1,9,9", "box 500,1,9,9", "outside the frame of 120x100"),
    "marked point outside": (MARKED + " --inside 12:500,1", "point 500,1", "outside the frame of 120x100"),
    "marked box of three numbers": (MARKED + " --box 1,2,3", "--box: found '1,2,3'", "X,Y,W,H"),
    "marked box without width": (MARKED + " --box 1,2,0,3", "box", "frame 10", "above 0"),
    "marked frame that is not there": (MARKED + " --box 3:1,2,9,9", "frame 3", "10 to 15"),
    "two boxes on a frame": (MARKED + " --box 1,2,9,9 --box 10:1,2,8,8", "--box: found two for frame 10", "one"),
    "mask of another size": (MARKED + " --mask 10:{here}/small/0010.png", "small", "40x10", "120x100"),
    "empty mask": (MARKED + " --mask 10:{here}/empty/0010.png", "the mask is empty", "white on black"),
    "missing mask": (MARKED + " --mask {here}/gone.png", "gone.png", "cannot be read"),
    "masks of a single frame": (MARKED + " --box 12:1,2,9,9 --frames 12:12", "single frame", "at least 2"),
    "masks of a missing clip": ("segment {here}/no.mp4 --box 1,2,9,9 --out {here}/out", "no.mp4", "no such file"),
    "no clip": ("reconstruct --masks {masks} --out {here}/out", "found no clip", "CLIP"),
    "no folder": ("reconstruct {frames} --masks {masks}", "--out DIR"),
    "missing clip": ("reconstruct {here}/no.mp4 --out {here}/out", "{here}/no.mp4", "no such file"),
    "text as clip": ("reconstruct {here}/text.mp4 --out {here}/out", "{here}/text.mp4", "found no video", "needs"),
    "image as clip": ("reconstruct {frames}/0010.png --out {here}/out", "0010.png", "single image"),
    "empty folder as clip": ("reconstruct {here}/nothing --out {here}/out", "{here}/nothing", "found no images"),
    "line break in a name": ("reconstruct {here}/a\nb.mp4 --out {here}/out", "a b.mp4", "no such file"),
    "no masks": (FILM, "{frames}", "no alpha", "needs masks"),
    "missing masks": (FILM + " --masks {here}/none", "{here}/none", "no such file"),
    "empty masks": (FILM + " --masks {here}/empty", "{here}/empty", "every mask is empty", "white on black"),
    "masks of another shape": (FILM + " --masks {here}/small", "{here}/small", "40x10", "120x100"),
    "a single mask of another shape": (FILM + " --masks {here}/mixed", "0012.png", "40x10", "120x100"),
    "masks of another clip": (FILM + " --masks {here}/others", "{here}/others", "found 9 masks, 60 to 68", "10 to 15"),
    "masks of two subjects": (FILM + " --masks {here}/colours", "{here}/colours", "1: red (200, 0, 0), 2: green",
                              "--subject"),
    "masks that are text": (FILM + " --masks {here}/text.mp4", "{here}/text.mp4", "found no video"),
    "single frame": (WHOLE + " --frames 12:12", "{frames}", "single frame", "at least 2"),
    "frames that are not there": (WHOLE + " --frames 90:99", "90:99", "10 to 15"),
    "frames backwards": (WHOLE + " --frames 14:12", "frames: found 14:12", "first before the last"),
    "one number as frames": (WHOLE + " --frames 5", "--frames: found '5'", "FIRST:LAST"),
    "words as frames": (WHOLE + " --frames a:b", "--frames: found 'a:b'", "FIRST:LAST"),
    "unknown setting": (WHOLE + " --set bonse=3", "setting bonse: unknown", "bones"),
    "value of another type": (WHOLE + " --set bones=many", "setting bones: found 'many'", "whole number"),
    "value out of range": (WHOLE + " --set bones=0", "setting bones: found 0", "1 to 128"),
    "no number as value": (WHOLE + " --set field_of_view=nan", "field_of_view: found 'nan'", "number"),
    "setting without value": (WHOLE + " --set bones", "--set: found 'bones'", "NAME=VALUE"),
    "box without masks": (FILM + " --box 1,2,3,4", "{frames}", "no alpha", "needs masks"),
    "box of three numbers": (WHOLE + " --box 1,2,3", "--box: found '1,2,3'", "X,Y,W,H"),
    "box without width": (WHOLE + " --box 1,2,0,4", "box: found [1.0, 2.0, 0.0, 4.0]", "above 0"),
    "box beside the subject": (WHOLE + " --box 0,0,2,2", "{masks}", "box", "frame 10"),
    "box of a frame that is not there": (WHOLE + " --box 9,9,99,99 --at 3", "--at", "frame 3", "10 to 15"),
    "frame of no box": (WHOLE + " --at 3", "at: found frame 3", "box"),
    "subject that is not there": (WHOLE + " --subject 7", "{masks}", "subject 7", "255"),
    "subject and box": (WHOLE + " --subject 1 --box 1,2,3,4", "a label and a box", "one of them"),
    "focal length of zero": (WHOLE + " --focal-length 0", "focal_length: found 0", "above 0"),
    "no number as focal length": (WHOLE + " --focal-length nan", "focal_length: found nan", "a number"),
    "absurd focal length": (WHOLE + " --focal-length 1e308", "focal_length: found 1e+308", "0.1 to 1e+09 pixels"),
    "focal length of no lens": (WHOLE + " --focal-length 5", "focal_length: found 5 pixels", "12 to 120000", "120 "),
    "axis far from the picture": (WHOLE + " --principal-point 999,3", "x = 999", "-360 to 480", "120x100"),
    "absurd box": (WHOLE + " --box 0,0,1e300,9", "box: found [0.0, 0.0, 1e+300, 9.0]", "at most 1e+06"),
    "absurd frames": (WHOLE + " --frames 0:99999999999", "frames: found frame 99999999999", "2147483647"),
    "absurd angle of view": (WHOLE + " --set field_of_view=1e-300", "field_of_view: found 1e-300", "2 to 120"),
    "absurd facing": (WHOLE + " --facing 3:1e300", "--facing: found '3:1e300'", "-360 to 360"),
    "absurd frame of a facing": (WHOLE + " --facing 99999999999:0", "hints: found frame 99999999999", "2147483647"),
    "absurd marks": (MARKED + " --box 0,0,1e300,9", "box: found [0.0, 0.0, 1e+300, 9.0]", "at most 1e+06"),
    "one number as principal point": (WHOLE + " --principal-point 5", "--principal-point: found '5'", "X,Y"),
    "shape without category": (WHOLE + " --shape {here}", "shape: found {here}", "needs the method 'vmr'"),
    "facing without frame": (WHOLE + " --facing 90", "--facing: found '90'", "FRAME:DEGREES"),
    "facing in words": (WHOLE + " --facing 3:left", "--facing: found '3:left'", "FRAME:DEGREES"),
    "facing two ways": (WHOLE + " --facing 3:0 --facing 3:90", "hints: found frame 3 twice", "once"),
    "missing camera solve": (WHOLE + " --camera-solve {here}/gone", "--camera-solve: {here}/gone", "cannot be read"),
    "camera solve of another form": (WHOLE + " --camera-solve {here}/odd/job.json", "camera_solve", "a list"),
    "category method": (WHOLE + " --method vmr", "model: found none", "needs a category model"),
    "unknown method": (WHOLE + " --method magic", "--method", "'magic'", "lasr"),
    "unknown preset": (WHOLE + " --preset best", "--preset", "'best'", "standard"),
    "unknown option": (WHOLE + " --quality 9", "--quality", "--help"),
    "option without value": ("reconstruct {frames} --out", "--out", "expected one argument"),
    "words as seed": (WHOLE + " --seed luck", "--seed", "'luck'"),
    "seed below zero": (WHOLE + " --seed -1", "seed: found -1", "0 to"),
    "unknown device": (WHOLE + " --device tpu", "device: found 'tpu'", "cpu"),
    "device that the renderer lacks": (WHOLE + " --device mps", "device: found 'mps'", "cpu"),
    "device that is not there": (WHOLE + " --device cuda:99", "device: found 'cuda:99'", "cpu"),
    "unknown renderer": (WHOLE + " --renderer magic", "--renderer", "'magic'", "pytorch3d"),
    "file as folder": ("reconstruct {frames} --out {here}/text.mp4", "{here}/text.mp4", "cannot be written"),
    "folder below a file": ("reconstruct {frames} --out {here}/text.mp4/a", "{here}/text.mp4/a", "cannot be written"),
    "clip beside a job": ("reconstruct {frames} --job {here}/odd", "CLIP: found it beside --job", "in its folder"),
    "option beside a job": ("reconstruct --job {here}/odd --seed 3", "--seed: found it beside --job", "in its folder"),
    "two folders": ("reconstruct --job {here}/odd --out {here}/out", "--out: found it beside --job", "one of them"),
    "option beside a resumed run": ("reconstruct --out {here}/spoilt --resume --set bones=3", "--set: found it",
                                    "--resume without CLIP"),
    "mark beside a job": ("segment --job {here}/odd --box 1,2,9,9", "--box: found it beside --job", "one of them"),
    "frame of a mark in other digits": (MARKED + " --inside \u2075:5,5", "--inside: found '\u2075:5,5'", "X,Y"),
    "job that is a file": ("reconstruct --job {here}/text.mp4", "{here}/text.mp4", "found no folder", "job.json"),
    "missing job": ("reconstruct --job {here}/gone", "{here}/gone", "found no folder", "job.json"),
    "nothing to resume": ("reconstruct --out {here}/gone --resume", "{here}/gone", "found no folder", "job.json"),
    "job without request": ("reconstruct --job {here}/nothing", "{here}/nothing/job.json", "not found"),
    "truncated request": ("reconstruct --job {here}/cut", "{here}/cut/job.json", "cannot be read as JSON"),
    "request of other types": ("reconstruct --job {here}/odd", "{here}/odd/job.json: clip: found 3", "a text"),
    "spoilt checkpoint": ("reconstruct --job {here}/spoilt --resume", "{here}/spoilt/run/" + TENSORS, "cannot be read"),
    "another request resumed": ("reconstruct {frames} --masks {masks} --out {here}/spoilt --resume --seed 3",
                                "--resume", "another seed", "{here}/spoilt"),
    "scoring without masks": ("evaluate {here}", "--masks"),
    "scoring nothing": ("evaluate {here} --masks {masks}", FILE_NAME, "not found"),
    "doctor of something": ("doctor --everything", "doctor: unrecognized arguments: --everything", "--help"),
    "benchmark of nothing": ("benchmark", "renderer"),
    "benchmark of tiny pictures": ("benchmark correspondence {here} --height 4", "--height: found 4", "32"),
    "benchmark of one frame": ("benchmark correspondence {here}/single", "{here}/single/frames", "two or more"),
    "benchmark of an unknown method": ("benchmark renderer --method magic", "'magic'", "silhouette"),
}


@pytest.fixture(scope="module")
def places(clip, tmp_path_factory) -> dict[str, str]:
    """What stands in braces in BAD_INPUTS."""
    here = tmp_path_factory.mktemp("bad")
    (here / "text.mp4").write_text("no film")
    write(here / "empty", [np.zeros((100, 120), np.uint8)] * FRAMES)
    write(here / "small", [np.full((10, 40), 255, np.uint8)] * FRAMES)
    write(here / "mixed", [np.full((10, 40) if n == 2 else (100, 120), 255, np.uint8) for n in range(FRAMES)])
    write(here / "others", [np.full((100, 120), 255, np.uint8)] * 9, first=60)
    colours = np.zeros((100, 120, 3), np.uint8)
    colours[20:50, 20:100, 2] = colours[50:80, 20:100, 1] = 200
    write(here / "colours", [colours] * FRAMES)
    (here / "single").mkdir()
    write(here / "single" / "frames", [np.zeros((100, 120), np.uint8)])
    for name in ("nothing", "cut", "odd"):
        (here / name).mkdir()
    (here / "cut" / "job.json").write_text('{"clip": "/fo')
    (here / "odd" / "job.json").write_text('{"clip": 3}')
    JobRequest(str(clip.frames), str(clip.masks), settings=QUICK, device="cpu").save(here / "spoilt" / RUN_NAME)
    (here / "spoilt" / RUN_NAME / FACTS).write_text("{}")
    (here / "spoilt" / RUN_NAME / TENSORS).write_bytes(b"cut")
    return {"here": str(here), "frames": str(clip.frames), "masks": str(clip.masks)}


@pytest.mark.parametrize(("command", "words"), [(case[0], case[1:]) for case in BAD_INPUTS.values()], ids=BAD_INPUTS)
def test_what_cannot_be_used_is_told_in_one_line(places, command, words):
    line = refusal(run(*(part.format(**places) for part in command.split(" ") if part)))
    for word in words:
        assert word.format(**places) in line
    assert not (Path(places["here"]) / "out" / FILE_NAME).exists()


@pytest.mark.parametrize("option", ["--out", "--masks", "--model"])
def test_an_empty_text_is_no_path(places, option):
    assert f"found an empty text after {option}" in refusal(run("reconstruct", places["frames"], option, ""))


@pytest.mark.parametrize("name", ["no masks", "value out of range", "unknown option"])
def test_a_process_of_its_own_refuses_alike(places, name):
    command, *words = BAD_INPUTS[name]
    with start(*(part.format(**places) for part in command.split(" "))) as process:
        out, err = process.communicate(timeout=60)
    line = refusal(Run(process.returncode, out, err))
    assert all(word.format(**places) in line for word in words)


def test_what_is_known_of_the_camera_and_the_subject_is_in_the_request(clip, tmp_path, monkeypatch):
    for name in ("run_job", "draw_pictures"):
        monkeypatch.setattr(f"vmr_backend.run.{name}", lambda *_: None)
    solve = [facing(number, 10 * number) for number in (10, 11)]
    (tmp_path / "solve.json").write_text(json.dumps([asdict(one) for one in solve]))
    asked = run(*clip.command(
        tmp_path / "out", "--focal-length", "640.5", "--principal-point", "60,50.5", "--facing", "10:90", "--facing",
        "14:-45", "--camera-solve", str(tmp_path / "solve.json"), "--box", "10,20,30,40", "--at", "12"))
    assert asked.status == 0
    request = JobRequest.load(tmp_path / "out")
    assert (request.focal_length, request.principal_point) == (640.5, [60, 50.5])
    assert request.hints == [facing(10, 90), facing(14, -45)] and request.camera_solve == solve
    assert (request.box, request.at, request.subject) == ([10, 20, 30, 40], 12, None)
    assert run(*clip.command(tmp_path / "other", "--subject", "2")).status == 0
    assert JobRequest.load(tmp_path / "other").subject == 2


@pytest.mark.parametrize("choice", [("--subject", "2"), ("--box", "45,35,30,30", "--at", "12")], ids=["label", "box"])
def test_a_run_and_its_evaluation_are_about_the_subject_that_was_chosen(clip, tmp_path, choice):
    """A block stands in the corner of all frames, larger than the subject's own corner of the picture."""
    masks = []
    for path in sorted(clip.masks.iterdir()):
        labels = (cv2.imread(str(path), cv2.IMREAD_GRAYSCALE) > 127) * np.uint8(2)
        assert not labels[:16, :40].any()
        labels[:14, :36] = 1
        masks.append(labels if choice[0] == "--subject" else np.minimum(labels, 1) * 255)
    command = ["reconstruct", clip.frames, "--masks", write(tmp_path / "masks", masks), "--out", tmp_path / "out",
               "--device", "cpu", *QUICKLY, "--set", "fine_iterations=0", "--frames", "11:13"]
    if choice[0] == "--subject":
        assert "labels 1, 2" in refusal(run(*command))
    done = run(*command, *choice)
    assert done.status == 0, done
    report = json.loads((tmp_path / "out" / "report.json").read_text(encoding="utf-8"))
    assert report["scores"]["J"] > 0.75, "the block is no part of the subject"
    scored = run("evaluate", tmp_path / "out", "--masks", tmp_path / "masks")
    assert json.loads(scored.out)["J"] == pytest.approx(report["scores"]["J"], abs=1e-3)


def test_a_run_that_was_refused_can_be_put_right(clip, tmp_path):
    assert run(*clip.command(tmp_path, "--frames", "90:99")).status == 2
    few = ["--set", "rigid_iterations=10", "--set", "coarse_iterations=10", "--set", "fine_iterations=0"]
    again = run(*clip.command(tmp_path, *QUICKLY, *few, "--frames", "12:13"))
    assert again.status == 0 and again.events[-1].event == "done"


@pytest.mark.parametrize(("error", "status", "words"), [
    (KeyboardInterrupt(), 3, "stopped by the user"), (Cancelled(), 3, "stopped by the user"),
    (ImportError("No module named 'warp'", name="warp"), 1, "the backend lacks warp; `doctor`"),
    (ImportError("DLL load failed"), 1, "the backend lacks DLL load failed; `doctor`"),
    (MemoryError(), 1, "out of memory; a lower crop size"),
    (RuntimeError("CUDA out of memory. Tried to allocate 2 GiB\nSee more"), 1, "out of memory; a lower crop size"),
    (OSError(28, "No space left on device", "/jobs/texture.png"), 1, "/jobs/texture.png: No space left on device"),
    (ValueError("shapes differ\nby far"), 1, "ValueError: shapes differ"), (ValueError(), 1, "ValueError"),
], ids=repr)
def test_a_run_that_ends_early_says_why(clip, tmp_path, monkeypatch, error, status, words):
    def ends(*_):
        raise error

    monkeypatch.setattr("vmr_backend.run.run_job", ends)
    ended = run(*clip.command(tmp_path))
    assert ended.status == status
    (event,) = ended.events
    assert event.event == "error" and event.message.startswith(words)
    assert len(event.message.splitlines()) == 1


@pytest.mark.parametrize("command", [["--help"], *([name, "--help"] for name in ("reconstruct", "evaluate", "doctor"))])
def test_help_is_no_error(command, capsys):
    try:
        assert cli.main(command) == 0
    except SystemExit as end:
        assert end.code == 0
    told = capsys.readouterr()
    assert "usage" in told.out and told.err == ""


def test_the_help_of_reconstruct_names_every_setting(capsys):
    with pytest.raises(SystemExit):
        cli.main(["reconstruct", "--help"])
    told = capsys.readouterr().out
    assert all(setting.name in told for setting in Settings.describe())


def test_help_does_without_what_takes_seconds_to_import():
    program = """import contextlib, sys
from vmr_backend.cli import COMMANDS, main
for name in set(COMMANDS) - {"benchmark"}:
    with contextlib.suppress(SystemExit):
        main([name, "--help"])
assert not {"torch", "warp"} & set(sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, encoding="utf-8",
                          cwd=PROGRAM.parents[1])
    assert done.returncode == 0 and done.stdout.count("usage") == len(cli.COMMANDS) - 1, done.stderr
