"""The training of a category model from first to last: pictures, starting shape and cameras, instances, network."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import asdict, replace
from itertools import count
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed
from sklearn.cluster import KMeans
from torch import Tensor

from ..annotations import Category
from ..bodies.category import CategoryShape, Handles, evenly
from ..checkpoint import Checkpoint
from ..geometry import sphere as spheres
from ..job import BadInput, EventLog
from ..rendering import Renderer, get_renderer
from ..vmr.encoders import ResNet18
from ..vmr.model import Architecture, CategoryModel
from ..vmr.model_file import STRENGTH, ModelCard, load_card, load_model, save_model
from ..vmr.objective import INSIDE, Targets, samples_inside
from .augmentation import Examples
from .collection import open_collection
from .command import MODEL_NAME, TrainingRequest
from .crops import Crops, dealt_in_turn, load_crops
from .instances import Instances, descend
from .keypoint_map import distance_from, held_by_vertices, keypoint_map
from .log import TrainingLog
from .network import PREFIX, Trainer, TrainingPlan, process
from .perception import Perception
from .pictures import Collection
from .scores import ModelScores, pictures_of, score
from .settings import TrainingSettings
from .starts import Start, self_start, weak_start

BEST_NAME = "best.safetensors"
"""The best model so far, of a training that is under way."""
PREVIOUS_NAME = "previous.safetensors"
"""The model that an earlier training left in the folder, until the new one is whole."""
LOGGED_EVERY = 20
"""Steps from one line of the log to the next."""
STAGES = {"pictures": 2.0, "structure": 4.0, "mean_shape": 4.0, "instances": 40.0, "network": 100.0, "scores": 1.0}
"""Of a training's time, for the forecast."""

FINER = 2
"""Held-out pictures are scored at so many times the network's picture size."""
TOGETHER = 32
"""Pictures whose meshes are fitted in one batch."""
KEPT_EVERY = 16
"""Batches from one checkpoint of fitted meshes to the next."""
TABLES = {"turn": "turn", "placement": "place", "handles": "handles"}
"""What is fitted of an instance, and its name in checkpoints."""
POOR_FIT = 0.6
"""Mask IoU below which a picture's fitted mesh is no training example."""
REFINEMENT_FROM, PICTURES_FROM = 0.25, 0.25
"""Fractions of the steps, as in `TrainingPlan`."""

T = TypeVar("T")


def train(request: TrainingRequest, folder: Path, log: EventLog, resume: bool,
          device: torch.device) -> ModelScores | None:
    """Carry out a training and leave MODEL_NAME in its folder; its scores, in the first process.

    BadInput where something cannot be used, or where there is nothing left to resume.
    """
    settings = TrainingSettings().with_values(request.settings)
    log.plan(STAGES)
    if resume:
        _go_on(folder, settings.steps)
    kept = Checkpoint.load(folder) if resume else None
    torch.manual_seed(request.seed)
    renderer = get_renderer(request.renderer, device)

    collection = open_collection(Path(request.collection), request.category)
    log.progress("pictures", 0, 1000, collection.summary())
    for line in collection.problems[:3]:
        log.warning(line)
    training, held_out = collection.split(settings.held_out)
    _check(request, settings, collection.category, len(training.pictures), len(held_out.pictures))
    if not resume and process()[0] == 0:
        Checkpoint.remove(folder)
        (folder / BEST_NAME).unlink(missing_ok=True)
        if (folder / MODEL_NAME).exists():
            (folder / MODEL_NAME).replace(folder / PREVIOUS_NAME)
    imagenet = imagenet_weights(Path(request.imagenet)) if request.imagenet else None
    crops = _crops(training, settings.image_size, log, 0.0, 0.8)
    tests = _crops(held_out, FINER * settings.image_size, log, 0.8, 1.0)

    work = _Work(request, settings, folder, log, device, renderer, collection.category, crops, kept)
    start = work.start(kept)
    shape, instances = work.instances(start, kept)
    model, examples = work.untrained(shape, instances)
    if imagenet and settings.encoder == "resnet18":
        model.encoder.load_imagenet(imagenet)
    card = ModelCard(collection.category, request.training, model.architecture, collection.licence,
                     settings=dict(settings.items()), pictures=len(crops.images), steps=settings.steps)
    affinity = None if start.affinity is None else start.affinity.to(device)
    perception = Perception(imagenet).to(device) if imagenet else None
    work.train_network(model, examples, affinity, perception, tests, kept, card)
    return work.finish(examples, tests, card) if process()[0] == 0 else None


def _go_on(folder: Path, steps: int) -> None:
    """Take up a finished training again, for more steps; BadInput where there are none left."""
    finished, best = folder / MODEL_NAME, folder / BEST_NAME
    if not finished.exists():
        return
    if (done := load_card(finished).steps) >= steps:
        raise BadInput(f"--resume: found {finished}, which is finished after {done} steps; needs an interrupted "
                       "training, or more --steps")
    if process()[0] == 0 and not best.exists():
        shutil.copyfile(finished, best)


def _crops(collection: Collection, size: int, log: EventLog, first: float, last: float) -> Crops:
    """All crops, of which each process reads a part."""
    def progress(step: int, steps: int) -> None:
        log.progress("pictures", round(1000 * (first + (last - first) * step / steps)), 1000)

    rank, processes = process()
    crops = load_crops(replace(collection, pictures=collection.pictures[rank::processes]), size, progress)
    if processes > 1:
        crops = dealt_in_turn(_of_all(crops, processes))
    for line in crops.problems[:3]:
        log.warning(line)
    if len(crops.problems) > 3:
        log.warning(f"{len(crops.problems)} pictures were left out in all")
    return crops


def _of_all(own: T, processes: int) -> list[T]:
    """What each process has, in their order, to all."""
    found: list[Any] = [None] * processes
    torch.distributed.all_gather_object(found, own)
    return found


def _check(request: TrainingRequest, settings: TrainingSettings, category: Category, pictures: int,
           held_out: int) -> None:
    """BadInput where a training would come to nothing, before it takes hours."""
    if not (pictures and held_out):
        raise BadInput(f"{request.collection}: found too few pictures, {pictures + held_out}, to hold some out for "
                       "scores; needs more")
    if request.training == "weak" and pictures < settings.bases:
        raise BadInput(f"{request.collection}: found {pictures} pictures to train on, needs {settings.bases}, as many "
                       "as shape bases")
    if (most := min(settings.batch, pictures)) < process()[1]:
        raise BadInput(f"batch: found {most} pictures for {process()[1]} processes, needs one for each")
    if request.training == "weak" and not category.keypoints:
        raise BadInput(f"training: found 'weak' for {category.name}, whose pictures have no keypoints; needs 'self', "
                       "or a collection with keypoints")


def imagenet_weights(path: Path) -> dict[str, Tensor]:
    """Torchvision's weights of resnet18; BadInput where the file holds none."""
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
        ResNet18(1, 1).load_imagenet(state)
        return state
    except Exception as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise BadInput(f"{path}: found no weights of torchvision's resnet18 ({reason[:200]}); needs its file, such as "
                       "resnet18-f37072fd.pth") from None


class _Work:
    """A training's stages, and what they have in common."""

    def __init__(self, request: TrainingRequest, settings: TrainingSettings, folder: Path, log: EventLog,
                 device: torch.device, renderer: Renderer, category: Category, crops: Crops,
                 kept: Checkpoint | None):
        self.request, self.settings, self.folder, self.log = request, settings, folder, log
        self.device, self.renderer, self.category, self.crops = device, renderer, category, crops
        self.weights = settings.weights()
        if request.training == "self":
            # VMR 3.3: without keypoints, and one template.
            self.weights |= {"keypoint": 0.0}
        self.bases = settings.bases if request.training == "weak" else 1
        self._facts: dict[str, Any] = kept.facts if kept else {}
        self._tensors: dict[str, Tensor] = kept.tensors if kept else {}

    def start(self, kept: Checkpoint | None) -> Start:
        """First shape and cameras."""
        if kept:
            return Start.of_tensors(kept.tensors)
        start = {"weak": weak_start, "self": self_start}[self.request.training](
            self.crops, self.category, self.renderer, self.request.seed,
            lambda step, steps: self.log.progress("structure", step, steps))
        self._keep({}, start.tensors())
        return start

    def instances(self, start: Start, kept: Checkpoint | None) -> tuple[CategoryShape, Instances]:
        """The mean shape and the mesh of each picture."""
        targets = self._targets()
        affinity = None if start.affinity is None else start.affinity.to(self.device)
        if kept and "mean_shape" in kept.tensors:
            mean = kept.tensors["mean_shape"].to(self.device)
        else:
            mean = self._mean_shape(start, targets, affinity)
        shape = self._shape(mean, start.sphere)
        if kept and "mean_shape" in kept.tensors:
            tables = [kept.tensors[name] for name in TABLES.values()]
            instances, done = Instances(start.camera.rotation, *tables), int(kept.facts["fitted"])
        else:
            instances, done = Instances.of(start.camera, shape.weights.shape[1]), 0
        batches = torch.arange(len(targets)).split(TOGETHER)
        rank, processes = process()
        iterations = self.settings.instance_iterations
        for number, batch in enumerate(batches[done:], done):
            if number % processes == rank:
                # A batch is fitted alike by whichever process, and after whatever interruption.
                torch.manual_seed(self.request.seed + number)
                self._fit(shape, instances, targets, affinity, batch, iterations)
            self.log.progress("instances", number + 1, len(batches))
            if (number + 1) % KEPT_EVERY == 0 and processes == 1 and number + 1 < len(batches):
                self._keep_instances(start, mean, instances, number + 1)
        if processes > 1:
            self._gather(instances, batches, rank, processes)
        if done < len(batches):
            self._keep_instances(start, mean, instances, len(batches))
        return shape, instances

    def _shape(self, only: Tensor, sphere: spheres.Sphere) -> CategoryShape:
        """Of a single basis (V, 3), with handles spread over it."""
        handles = Handles.spread_over(only.cpu(), sphere, self.settings.handles)
        return CategoryShape(only[None].to(self.device), sphere, handles, STRENGTH).to(self.device)

    def _targets(self) -> Targets:
        masks = torch.from_numpy(self.crops.masks).float() / 255
        random = torch.Generator().manual_seed(self.request.seed)
        chance = torch.rand(len(masks), INSIDE, generator=random)
        return Targets(masks, samples_inside(masks, chance), torch.from_numpy(self.crops.keypoints),
                       torch.from_numpy(self.crops.seen > 0).float())

    def _mean_shape(self, start: Start, targets: Targets, affinity: Tensor | None) -> Tensor:
        """The mean shape (V, 3), fitted to some pictures."""
        shape = self._shape(start.template, start.sphere)
        random = torch.Generator().manual_seed(self.request.seed)
        torch.manual_seed(self.request.seed)
        trusted = torch.nonzero(torch.isfinite(start.camera.scale))[:, 0]
        some = trusted[torch.randperm(len(trusted), generator=random)[: self.settings.mean_shape_pictures]]
        few = Instances.of(start.camera[some], shape.weights.shape[1])
        passes = self.settings.mean_shape_passes
        steps = passes * -(-len(some) // TOGETHER)

        def batches() -> Iterator[Tensor]:
            for _ in range(passes):
                yield from torch.randperm(len(some), generator=random).split(TOGETHER)

        number = count(1)
        few, true = few.to(self.device), targets[some].to(self.device)
        descend(shape, few, true, affinity, batches(), self.weights, self.renderer, True,
                lambda _: self.log.progress("mean_shape", next(number), steps))
        return shape.bases().detach()[0]

    def _fit(self, shape: CategoryShape, instances: Instances, targets: Targets, affinity: Tensor | None,
             batch: Tensor, iterations: int) -> None:
        """The meshes of one batch of pictures, in place."""
        few = instances[batch].to(self.device)
        every = torch.arange(len(batch), device=self.device)
        descend(shape, few, targets[batch].to(self.device), affinity, (every for _ in range(iterations)),
                self.weights, self.renderer, False, lambda _: None)
        for name in TABLES:
            getattr(instances, name)[batch] = getattr(few, name).cpu()

    def _gather(self, instances: Instances, batches: tuple[Tensor, ...], rank: int, processes: int) -> None:
        """Every process gets what the others fitted."""
        for name in TABLES:
            table = getattr(instances, name)
            own = torch.zeros_like(table)
            for number, batch in enumerate(batches):
                if number % processes == rank:
                    own[batch] = table[batch]
            own = own.to(self.device)  # NCCL reduces on GPUs only
            torch.distributed.all_reduce(own)
            table.copy_(own)

    def untrained(self, shape: CategoryShape, instances: Instances) -> tuple[CategoryModel, Examples]:
        """An untrained model with its shape bases, and its training examples."""
        vertices, overlaps = self._fitted(shape, instances)
        good = torch.nonzero((overlaps > POOR_FIT) & vertices.isfinite().all(-1).all(-1))[:, 0]
        if len(good) < len(overlaps):
            self.log.warning(f"{len(overlaps) - len(good)} of {len(overlaps)} pictures, whose fitted mesh does not "
                             "cover the mask, are no examples")
        if len(good) < self.bases:
            raise BadInput(f"{self.request.collection}: found {len(good)} pictures that a mesh could be fitted to, "
                           f"needs {self.bases} at the least; are masks and keypoints right?")
        vertices = vertices[good]
        bases, cluster = cluster_shapes(vertices, self.bases, self.request.seed)
        if self.bases == 1:
            bases = shape.bases().detach().cpu()
        final = CategoryShape(bases.to(self.device), shape.sphere, Handles(shape.weights.cpu(), shape.twin.cpu()),
                              STRENGTH).to(self.device)
        s = self.settings
        torch.manual_seed(self.request.seed)
        model = CategoryModel(final, Architecture(s.encoder, s.image_size, s.hypotheses, s.refinements)).to(self.device)
        camera = instances.camera[good]
        model.usual_place.copy_(instances.placement[good].mean(0))
        images, masks = pictures_of(self.crops.images[good.numpy()], self.crops.masks[good.numpy()],
                                    torch.device("cpu"))
        return model, Examples(images, masks, torch.from_numpy(self.crops.keypoints)[good],
                               torch.from_numpy(self.crops.seen > 0).float()[good], vertices, camera, cluster)

    @torch.no_grad()
    def _fitted(self, shape: CategoryShape, instances: Instances) -> tuple[Tensor, Tensor]:
        """Vertices (N, V, 3) and mask IoU (N,) of the fitted meshes."""
        found, overlaps = [], []
        masks = torch.from_numpy(self.crops.masks) > 127
        base = shape.base(evenly(1, 1).to(self.device))
        for batch in torch.arange(len(masks)).split(64):
            some = instances[batch].to(self.device)
            vertices = shape.deformed(base.expand(len(batch), -1, -1), some.handles)
            drawn = self.renderer.visibility(some.camera.project(vertices), shape.faces, masks.shape[-1])
            covered, mask = drawn.face_index.cpu() >= 0, masks[batch]
            overlaps.append((covered & mask).sum((1, 2)) / (covered | mask).sum((1, 2)).clamp_min(1))
            found.append(vertices.cpu())
        return torch.cat(found), torch.cat(overlaps)

    def train_network(self, model: CategoryModel, examples: Examples, affinity: Tensor | None,
                      perception: Perception | None, tests: Crops, kept: Checkpoint | None, card: ModelCard) -> None:
        """Train the model and leave its best state, by scores on held-out pictures, in BEST_NAME."""
        s = self.settings
        plan = TrainingPlan(s.steps, s.batch, s.learning_rate, REFINEMENT_FROM, PICTURES_FROM, self.weights)
        mirror = torch.tensor(self.category.mirror, dtype=torch.int64)
        trainer = Trainer(model, affinity, examples, mirror, plan, self.renderer, self.request.seed, perception)
        best: ModelScores | None = None
        if kept and "step" in kept.facts:
            trainer.restore(kept.tensors, int(kept.facts["step"]))
            best = ModelScores(**kept.facts["best"])
        with TrainingLog(self.folder) if process()[0] == 0 else nullcontext() as record:
            while trainer.step < s.steps:
                parts = trainer.update()
                self.log.progress("network", trainer.step, s.steps)
                if record and trainer.step % LOGGED_EVERY == 0:
                    record.write(trainer.step, parts)
                if trainer.step % s.validate_every == 0 or trainer.step == s.steps:
                    scores = score(model, affinity, tests, self.renderer)
                    if record:
                        record.write(trainer.step, {f"held_out_{k}": v for k, v in scores.as_facts().items()})
                    self.log.progress("network", trainer.step, s.steps, f"Step {trainer.step}: {scores}")
                    if best is None or merit(scores) >= merit(best):
                        best = scores
                        if record:
                            save_model(self.folder / BEST_NAME, model, affinity, card)
                    self._keep(self._facts | {"step": trainer.step, "best": asdict(best)},
                               self._tensors | trainer.tensors())

    def finish(self, examples: Examples, tests: Crops, card: ModelCard) -> ModelScores:
        """Find the keypoints of the best state on the surface, score it as it will be used, leave MODEL_NAME."""
        loaded = load_model(self.folder / BEST_NAME, self.device)
        affinity = loaded.affinity
        if affinity is not None:
            heat = keypoint_map(loaded.model, examples, self.renderer)
            choices = [affinity, held_by_vertices(heat, loaded.model)]
            # Keypoints inside limbs may be held better from all round than from where they are seen.
            affinity = min(choices, key=lambda held: distance_from(held, loaded.model, examples, self.renderer))
        scores = score(loaded.model, affinity, tests, self.renderer)
        save_model(self.folder / MODEL_NAME, loaded.model, affinity, replace(card, scores=scores.as_facts()))
        for name in (BEST_NAME, PREVIOUS_NAME):
            (self.folder / name).unlink(missing_ok=True)
        self.log.progress("scores", 1, 1, str(scores))
        return scores

    def _keep_instances(self, start: Start, mean: Tensor, instances: Instances, done: int) -> None:
        tables = {kept: getattr(instances, name) for name, kept in TABLES.items()}
        self._keep({"fitted": done}, start.tensors() | {"mean_shape": mean.cpu()} | tables)

    def _keep(self, facts: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        self._facts = facts
        self._tensors = {name: value for name, value in tensors.items() if not name.startswith(PREFIX)}
        if process()[0] == 0:
            Checkpoint(facts, tensors).save(self.folder)


def cluster_shapes(vertices: Tensor, bases: int, seed: int) -> tuple[Tensor, Tensor]:
    """Shape bases (bases, V, 3), the centres of K-means over meshes (N, V, 3), and which is nearest to each (N,)."""
    flat = vertices.flatten(1).numpy()
    found = KMeans(bases, n_init=4, random_state=seed).fit(flat)
    centres = torch.from_numpy(found.cluster_centers_).float().unflatten(1, (-1, 3))
    return centres, torch.from_numpy(found.labels_).long()


def merit(scores: ModelScores) -> float:
    """What the best of several states is chosen by."""
    return scores.iou + (scores.pck or 0.0)
