"""The fit of LASR from first to last: cameras on a rigid shape, then bones, then the fine mesh."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch

from ..checkpoint import Checkpoint
from ..geometry.body import BODY_RADIUS
from ..geometry.cameras import project, zoomed
from ..geometry.sphere import Sphere, icosphere, spherical_uv
from ..job import BadInput
from ..known import NOTHING, Known
from ..reconstruction import Reconstruction
from ..rendering import Renderer, get_renderer
from ..settings import Settings
from ..snapshots import Show
from ..video.flow import CropFlow
from ..video.footage import Footage
from ..video.guided_flow import guided_flows
from ..video.observations import far_flows, observe
from ..video.view import View
from .armature import Tree, armature_of
from .cameras import Hypothesis, Starts, search, starts_of
from .descent import Schedule, descend
from .model import ELEVATION, INITIAL_COVER, CameraPath, Model, RestMesh, Skeleton
from .roll import roll_path

COARSE_LEVEL = 3
RIGID_SMOOTHING, FINE_SMOOTHING = 10.0, 10.0
"""Strengths of the rest mesh's preconditioner; more vertices want more for the same smoothness."""

SLOW = 48.0
"""Frames (two seconds of film) that bones first take at the least to move to and fro."""

REFINEMENTS = 2
"""How often the camera found is refined with flow that it helped to find itself."""

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True)
class Stage:
    """One leg of the fit after the camera search."""

    name: str
    size: int
    """Side of the crops in pixels."""
    level: int
    """Of the mesh."""
    smoothing: float
    schedule: Schedule


@dataclass(frozen=True)
class Fit:
    """What a fit found."""

    reconstruction: Reconstruction
    hypotheses: list[Hypothesis]
    """The chosen one first."""
    seconds: dict[str, float]
    """Of each stage."""


def stages_of(settings: Settings) -> list[Stage]:
    """The legs after the camera search, coarse to fine (LASR's S1 to S3)."""
    level, crop = settings.subdivision, settings.crop_size
    half = settings.fine_iterations // 2
    upright = (0.0, 1.0) if settings.upright else (1.0, 1.0)
    # Whatever stage is the last lets symmetry go, and smooths least.
    symmetry, stiffness = (1.0, 0.5) if settings.fine_iterations else (0.0, 0.2)
    stages = [
        Stage("coarse", min(96, crop), level, FINE_SMOOTHING,
              Schedule(settings.coarse_iterations, (1.0, symmetry), upright, (1.0, stiffness), shortest=SLOW)),
        Stage("fine", min(128, crop), level, FINE_SMOOTHING, Schedule(half, (1.0, 1.0), stiffness=(0.5, 0.3))),
        Stage("finest", 3 * crop // 4, level, FINE_SMOOTHING,
              Schedule(settings.fine_iterations - half, (1.0, 0.0), stiffness=(0.3, 0.2), rate=0.5)),
    ]
    return [stage for stage in stages if stage.schedule.iterations]


def plan_of(settings: Settings) -> dict[str, float]:
    """Each stage's share of a run, for the forecast of the time left: about milliseconds on two cores."""
    # Of the search's hypotheses a bit less than half are alive on the average; one is refined afterwards.
    shares = {"camera": settings.rigid_iterations * (7.0 * settings.hypotheses + 25)}
    for stage in stages_of(settings):
        each = 20 * 2.0 ** (stage.level - COARSE_LEVEL) + stage.size**2 / 900
        shares[stage.name] = stage.schedule.iterations * each
    return shares


def fit(footage: Footage, settings: Settings, device: torch.device, seed: int, progress: Progress,
        folder: Path | None = None, resume: bool = False, known: Known = NOTHING, show: Show = lambda _: None) -> Fit:
    """Reconstruct the subject of the footage.

    progress  called with stage, step and steps
    folder    where a checkpoint is written after each stage; None: nowhere
    resume    go on from the checkpoint in the folder, if there is one
    known     what is known of the camera beforehand
    show      called often, once the camera is found, with what makes a reconstruction of all that is found so far
    """
    view = View.of(footage, known, settings, device)
    paths = starts_of(settings.hypotheses, known, footage.numbers, roll_path(footage))
    renderer = get_renderer("warp", device)
    found = Checkpoint.load(folder) if folder and resume else None
    torch.manual_seed(seed)
    if found:
        try:
            model, starts, seconds = _taken_up(found, view, paths, settings)
        except (KeyError, TypeError, ValueError, RuntimeError):
            raise BadInput(f"{folder}: found a checkpoint of another clip or of other settings; run again without "
                           "resuming") from None
    else:
        starts, seconds = paths.hypotheses, {}
        model = (_ellipsoids(view, paths, _extent(footage)) if known.shape is None
                 else _shaped(view, paths, known.shape.vertices, known.shape.sphere))
    stages = stages_of(settings)

    def run(name: str, size: int, work: Callable) -> None:
        """One stage from its own seed, so that a resumed run draws what an uninterrupted one would."""
        if name in seconds:
            return
        begin = time.monotonic()
        torch.manual_seed(seed + 1000 * len(seconds))
        random = np.random.default_rng([seed, len(seconds)])
        work(size, random, lambda step, steps: progress(name, step, steps))
        seconds[name] = time.monotonic() - begin
        if folder:
            facts = {"settings": dict(settings.items()), "seconds": seconds,
                     "hypotheses": [asdict(h) for h in starts]}
            Checkpoint(facts, model.state_dict()).save(folder)

    def find_camera(size, random, report) -> None:
        seen = observe(footage, far_flows(footage), size, device, random)
        again = max(1, settings.rigid_iterations // 2)
        # A step of the refinements, with one hypothesis, takes far less time than one of the search.
        steps = settings.rigid_iterations + REFINEMENTS * again // 8
        starts[:] = search(model, starts, seen, renderer, settings, random, lambda step, _: report(step, steps))
        freedom = 0.0 if settings.upright else 1.0
        for k in range(REFINEMENTS):
            seen = observe(footage, _guided_flows(model, footage, renderer, freedom), size, device, random)
            schedule = Schedule(again, (1.0, 1.0), (freedom, freedom), (1.0, 1.0))
            descend(model, seen, renderer, settings, schedule, random, lambda step, _, done=k * again: report(
                settings.rigid_iterations + (done + step) // 8, steps))

    run("camera", min(64, settings.crop_size), find_camera)
    for stage in stages:

        def deform(size, random, report, stage=stage) -> None:
            # The camera is all free at the end of a stage, at the start of the first as free as the search left it.
            freedom = stage.schedule.freedom[0]
            seen = observe(footage, _guided_flows(model, footage, renderer, freedom), size, device, random)
            _prepare(model, stage, settings)

            def after_step(step: int, steps: int) -> None:
                report(step, steps)
                show(lambda: _result(model, footage))

            descend(model, seen, renderer, settings, stage.schedule, random, after_step)

        run(stage.name, stage.size, deform)
    return Fit(_result(model, footage), starts, seconds)


@torch.no_grad()
def _guided_flows(model: Model, footage: Footage, renderer: Renderer, freedom: float) -> list[CropFlow]:
    """Flow that the single hypothesis guides, its camera as free as it is now."""
    frames = torch.arange(len(footage.numbers), device=model.colours.device)
    motion = model.skeleton.motion_parameters() if model.skeleton else None
    vertices = model.vertices(model.mesh(), motion, frames)
    rotation, translation = model.camera(freedom)
    points = project(vertices, model.cameras(rotation, translation, frames))[0]
    return guided_flows(points, model.mesh.faces, footage, renderer)


def _ellipsoids(view: View, paths: Starts, extent: tuple[float, float]) -> Model:
    """Each hypothesis' start: an ellipsoid as wide and high as the masks, seen as the hypothesis says.

    extent  half width and half height of the subject, crop units
    """
    sphere = icosphere(COARSE_LEVEL)
    return _shaped(view, paths, sphere.vertices * _radii(paths.hypotheses, extent).numpy()[:, None], sphere)


def _shaped(view: View, paths: Starts, vertices: np.ndarray, sphere: Sphere) -> Model:
    """Hypotheses that start from shapes ([H,] V, 3), crop units, seen as they say."""
    device = view.numbers.device
    every = np.broadcast_to(BODY_RADIUS / INITIAL_COVER * vertices, (len(paths.hypotheses), *vertices.shape[-2:]))
    mesh = RestMesh(torch.from_numpy(every.copy()).float().to(device), sphere, RIGID_SMOOTHING)
    turn, tilt = (torch.from_numpy(path).float().to(device) for path in (paths.turn, paths.tilt))
    camera = CameraPath(view, turn, tilt, ELEVATION, paths.solved)
    return Model(view, mesh, camera).to(device)


def _radii(starts: list[Hypothesis], extent: tuple[float, float]) -> torch.Tensor:
    """(H, 3) radii in crop units: along the picture the masks' width, into the picture their smaller extent."""
    width, height = extent
    thin = min(width, height)
    heading = torch.tensor([h.heading for h in starts])
    return torch.stack([thin + (width - thin) * heading.cos().abs(), thin + (width - thin) * heading.sin().abs(),
                        torch.full_like(heading, height)], 1)


def _extent(footage: Footage) -> tuple[float, float]:
    """Half width and half height (crop units) of the subject in the frame where it is widest, and on the average."""
    size = footage.masks.shape[1]
    widths, heights = ((footage.masks > 0.5).any(axis).sum(1) / size for axis in (1, 2))
    return float(np.quantile(widths, 0.9)), float(np.median(heights))


def _taken_up(found: Checkpoint, view: View, paths: Starts,
              settings: Settings) -> tuple[Model, list[Hypothesis], dict[str, float]]:
    """Model, hypotheses and seconds as they were when the checkpoint was written."""
    if found.facts["settings"] != dict(settings.items()):
        raise ValueError("other settings")
    starts = [Hypothesis(**h) for h in found.facts["hypotheses"]]
    seconds: dict[str, float] = dict(found.facts["seconds"])
    model = _ellipsoids(view, paths.first(), (INITIAL_COVER, INITIAL_COVER))
    if "skeleton.centres" in found.tensors:
        model.skeleton = Skeleton.empty(view, len(found.tensors["skeleton.centres"]))
    for stage in stages_of(settings):
        if stage.name in seconds:
            model.refine(stage.level, stage.smoothing)
    model.load_state_dict(found.tensors)
    return model, starts, seconds


def _prepare(model: Model, stage: Stage, settings: Settings) -> None:
    """Bring the model into a stage's structure."""
    model.refine(stage.level, stage.smoothing)
    if model.skeleton is None or stage.name == "fine":
        model.grow_skeleton(settings.bones)


@torch.no_grad()
def _result(model: Model, footage: Footage) -> Reconstruction:
    """The fitted model in the units of the format: the rest shape's longest extent is 1."""
    rest, skeleton = model.mesh(), model.skeleton
    rotation, translation = model.camera(1.0)
    intrinsics = zoomed(model.view.intrinsics, model.camera.zoom()[0])
    motion = skeleton.motion_parameters()
    vertices = model.vertices(rest, motion, torch.arange(len(motion), device=rest.device))[0]
    scale = 1 / (rest[0].amax(0) - rest[0].amin(0)).max()
    weights = skeleton.skin_weights(rest[0], model.mesh.places)
    tree = Tree(skeleton.parents.cpu().numpy(), (scale * skeleton.joints).double().cpu().numpy())
    rest_vertices, shares = (t.double().cpu().numpy() for t in (scale * rest[0], weights))
    armature = armature_of(rest_vertices, shares, tree, skeleton.twin.cpu().numpy())
    order = torch.from_numpy(armature.order).to(rest.device)
    rest_pose = torch.from_numpy(armature.rest).to(rest)
    bone_rotation, bone_translation = (part[:, order] for part in skeleton.transforms(motion))
    moved = torch.eye(4, device=rest.device).repeat(len(motion), len(order), 1, 1)
    moved[..., :3, :3], moved[..., :3, 3] = bone_rotation, scale * bone_translation

    def array(tensor: torch.Tensor) -> np.ndarray:
        return np.ascontiguousarray(tensor.cpu().numpy(), np.float32)

    return Reconstruction(
        frames=footage.numbers.astype(np.int32), vertices=array(scale * vertices),
        rest_vertices=array(scale * rest[0]), faces=model.mesh.sphere.faces.astype(np.int32),
        uv=spherical_uv(model.mesh.sphere).astype(np.float32), camera_rotation=array(rotation[0]),
        camera_translation=array(scale * translation[0]), intrinsics=array(intrinsics),
        image_size=np.array(footage.image_size, np.int32), bone_parents=armature.parents,
        bone_names=armature.names, bone_lengths=armature.lengths.astype(np.float32),
        bone_rest=array(rest_pose), bone_pose=array(moved @ rest_pose), skin_weights=array(weights[:, order]))
