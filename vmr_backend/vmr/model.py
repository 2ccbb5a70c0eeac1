"""The category model: from a picture of the subject to its shape, pose, camera and texture (VMR 3.1)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..bodies.category import HANDLE_SIZE, CategoryShape, basis_weights
from ..fitting.data_terms import mask_term
from ..geometry.body import parts_of_body, spread_out
from ..geometry.cameras import LEVEL_CAMERA, WeakCamera
from ..geometry.rotations import about_z, angle_between, from_axis_angle, from_two_columns
from ..losses import contour_loss
from ..rendering import Renderer
from ..rows import Rows
from .encoders import ENCODERS, Landmarks, cut_out, local_soft_argmax, zero_initialised
from .objective import samples_inside
from .texture import FlowCorrection, Texels, surface_flow

CODE = 256
"""Of a picture; CMR: 200."""
HIDDEN = 512
"""Width of the hidden layers."""
HANDLE_UNITS = (1.0,) * 3 + (0.3,) * 6
"""What 1 in the network's output means for a handle: radians, logarithm of a scale, object units."""
PLACEMENT_UNIT = 0.3
"""Likewise: crop units, also of the scale's logarithm."""
LANDMARKS = 64
"""Vertices that are found in a picture."""
LANDMARK_UNIT, MASK_UNIT, CONTOUR_UNIT = 1 / 3, 1 / 5, 1 / 80
"""What 1 means in the input of a refinement: residuals of landmarks, gradients of the mask and contour terms."""
CONTOUR_SAMPLES = 128
"""Inside a mask, for the gradient of the contour term."""
FARTHEST = 5.0
"""Crop units from the middle of a picture, which reaches to 1, beyond which no part of a mesh lies after refinement."""
MISFIT = 0.03
"""Crop units by which a camera's landmarks must be further off for it to be e times less likely."""


@dataclass(frozen=True)
class Architecture:
    """Of a model file's network."""

    encoder: str = "small"
    image_size: int = 96
    """Pixels across the pictures it takes."""
    hypotheses: int = 8
    """Cameras tried, each around a heading of its own."""
    refinements: int = 6
    """Iterations in which the mesh is compared with the landmarks found and with the mask, and corrected."""


STATE_NAMES = "shares", "handles", "rotation", "place"
"""Of the tensors of a `State` in checkpoints."""


@dataclass(frozen=True)
class State(Rows):
    """What is predicted of N pictures: all that their meshes and cameras follow from."""

    basis_logits: Tensor
    """(N, N_b), whose softmax are the basis weights."""
    handles: Tensor
    """(N, H, HANDLE_SIZE)."""
    rotation: Tensor
    """(N, 3, 3), object to camera."""
    placement: Tensor
    """(N, 3) shift in crop units and the scale's logarithm."""

    @property
    def camera(self) -> WeakCamera:
        return WeakCamera(self.rotation, self.placement[:, 2].exp(), self.placement[:, :2])

    def detached(self) -> State:
        return State(*(value.detach() for value in self.values()))

    def flat(self) -> Tensor:
        """(N, C), input of a refinement."""
        return torch.cat([self.basis_logits, self.handles.flatten(1), self.rotation.flatten(1), self.placement], 1)


@dataclass(frozen=True)
class Prediction:
    """The mesh and camera of N pictures."""

    state: State
    base: Tensor
    """(N, V, 3) before deformation, object units."""
    vertices: Tensor
    """(N, V, 3)."""

    @property
    def camera(self) -> WeakCamera:
        return self.state.camera


@dataclass(frozen=True)
class Hypotheses:
    """Camera hypotheses of N pictures."""

    rotations: Tensor
    """(N, C, 3, 3), object to camera."""
    logits: Tensor
    """(N, C) of their probabilities."""

    def chosen(self, index: Tensor) -> Tensor:
        """Rotations (N, 3, 3) of one hypothesis (N,) each."""
        return self.rotations[torch.arange(len(index), device=index.device), index]


@dataclass(frozen=True)
class Encoding:
    """What the convolutional part of the network makes of N pictures."""

    code: Tensor
    """(N, CODE)."""
    landmarks: Tensor
    """(N, M, 2) crop coordinates."""
    confidence: Tensor
    """(N, M) of the landmarks."""
    heatmaps: Tensor
    """(N, M, H, W) of the landmarks, logits."""
    masks: Tensor
    """(N, S, S) in 0..1, as given."""

    def flat(self) -> Tensor:
        """(N, C), input of the fully connected layers."""
        return torch.cat([self.code, self.landmarks.flatten(1), self.confidence], 1)


@dataclass(frozen=True)
class InitialPrediction:
    """Of N pictures, before any refinement."""

    encoding: Encoding
    state: State
    """With the likeliest camera."""
    hypotheses: Hypotheses

    def state_under(self, index: Tensor) -> State:
        """With one camera hypothesis (N,) each."""
        return replace(self.state, rotation=self.hypotheses.chosen(index))


class CategoryModel(nn.Module):
    """The network of a category and its shape."""

    anchors: Tensor
    """(C, 3, 3) object to camera, headings all round; a level camera."""
    landmarks: Tensor
    """(M,) vertices that are found in pictures."""
    usual_place: Tensor
    """(3,) mean placement, which the network's output is added to."""

    def __init__(self, shape: CategoryShape, architecture: Architecture, landmarks: Tensor | None = None):
        """landmarks  (M,) vertices, as an earlier model of the shape chose them; None to choose them"""
        super().__init__()
        self.shape = shape
        self.architecture = architecture
        bases, handles = len(shape.latent), shape.weights.shape[1]
        headings = torch.arange(architecture.hypotheses) * (2 * torch.pi / architecture.hypotheses)
        self.register_buffer("anchors", LEVEL_CAMERA @ about_z(headings))
        self.register_buffer("landmarks", landmarks_of(shape) if landmarks is None else landmarks)
        self.register_buffer("usual_place", torch.zeros(3))
        self.encoder = ENCODERS[architecture.encoder](1, CODE)
        self.finder = Landmarks(self.encoder.widths, len(self.landmarks))
        encoded, state = CODE + 3 * len(self.landmarks), bases + handles * HANDLE_SIZE
        self.trunk = nn.Sequential(nn.Linear(encoded, HIDDEN), nn.ReLU(inplace=True), nn.Linear(HIDDEN, HIDDEN),
                                   nn.ReLU(inplace=True))
        self.body = zero_initialised(nn.Linear(HIDDEN, state + 3))
        self.probabilities = zero_initialised(nn.Linear(HIDDEN, architecture.hypotheses))
        self.turns = zero_initialised(nn.Linear(HIDDEN, architecture.hypotheses * 6))
        if architecture.refinements:
            compared = encoded + state + 9 + 3 + 3 * (len(self.landmarks) + 2 * handles)
            self.second_trunk = nn.Sequential(nn.Linear(compared, HIDDEN), nn.ReLU(inplace=True),
                                              nn.Linear(HIDDEN, HIDDEN), nn.ReLU(inplace=True))
            self.correction = zero_initialised(nn.Linear(HIDDEN, state + 3 + 3))
            # A step down the gradient is linear in it: no hidden layer is needed for that.
            self.direct_correction = zero_initialised(nn.Linear(compared, state + 3 + 3))
        self.flow_correction = FlowCorrection(CODE)
        self.texels = Texels(shape.sphere)

    def initial_prediction(self, images: Tensor, masks: Tensor) -> InitialPrediction:
        """From images (N, 3, S, S) and masks (N, S, S) in 0..1, without refinement."""
        maps, code = self.encoder(cut_out(images, masks))
        heatmaps = self.finder(maps)
        encoding = Encoding(code, *local_soft_argmax(heatmaps), heatmaps, masks)
        hidden = self.trunk(encoding.flat())
        logits, handles, placement = self._in_units(self.body(hidden))
        turns = from_two_columns(self.turns(hidden).unflatten(1, (-1, 6)))
        hypotheses = Hypotheses(turns @ self.anchors, self.probabilities(hidden))
        state = State(logits, handles, hypotheses.rotations[:, 0], self.usual_place + placement)
        initial = InitialPrediction(encoding, state, hypotheses)
        return replace(initial, state=initial.state_under(self._likeliest(initial)))

    @torch.no_grad()
    def _likeliest(self, initial: InitialPrediction) -> Tensor:
        """(N,) the hypothesis of high probability and small residuals of the landmarks."""
        points = self.predict(initial.state).vertices[:, self.landmarks]
        cameras, (count, hypotheses) = initial.hypotheses.rotations.flatten(0, 1), initial.hypotheses.logits.shape
        each = State(initial.state.basis_logits, initial.state.handles, cameras,
                     initial.state.placement.repeat_interleave(hypotheses, 0)).camera
        projected = each.project(points.repeat_interleave(hypotheses, 0))[..., :2].unflatten(0, (count, hypotheses))
        residual = (projected - initial.encoding.landmarks.unsqueeze(1)).norm(dim=-1).mean(-1)
        return (initial.hypotheses.logits.log_softmax(1) - residual / MISFIT).argmax(1)

    def refinements(self, encoding: Encoding, prediction: Prediction, renderer: Renderer) -> Iterator[Prediction]:
        """A prediction, and what each iteration of its refinement makes of it."""
        yield prediction
        for _ in range(self.architecture.refinements):
            prediction = self.predict(self._corrected(encoding, prediction, renderer))
            yield prediction

    def refined(self, encoding: Encoding, prediction: Prediction, renderer: Renderer) -> Prediction:
        """The last of the `refinements`; of pictures whose refinement diverged, the prediction itself.

        The steps are learned, and nothing bounds them under a camera that no training example had.
        """
        *_, last = self.refinements(encoding, prediction, renderer)
        farthest = last.camera.project(last.vertices)[..., :2].detach().abs().amax((1, 2))
        has_diverged = ~(farthest < FARTHEST)  # true for what is no number, too
        if not has_diverged.any():
            return last
        kept = (torch.where(has_diverged.view(-1, *[1] * (value.dim() - 1)), before, value)
                for before, value in zip(prediction.state.values(), last.state.values(), strict=True))
        return self.predict(State(*kept))

    def _corrected(self, encoding: Encoding, before: Prediction, renderer: Renderer) -> State:
        """A state after one iteration of refinement: a descent whose steps a network predicts (Song et al. 2020).

        The network reads residuals of the landmarks and gradients of the mask terms, and outputs corrections.
        """
        state = before.state.detached()
        camera, vertices = state.camera, before.vertices.detach()
        residuals = encoding.landmarks - camera.project(vertices)[:, self.landmarks, :2]
        gradients = self._mask_gradients(camera, vertices, encoding.masks, renderer)
        compared = torch.cat([in_object(residuals, camera) / LANDMARK_UNIT, *gradients], 1)
        read = torch.cat([encoding.flat(), state.flat(), compared.flatten(1)], 1)
        output = self.correction(self.second_trunk(read)) + self.direct_correction(read)
        body, turn = output.split([output.shape[1] - 3, 3], 1)
        logits, handles, placement = self._in_units(body)
        return State(state.basis_logits + logits, state.handles + handles, from_axis_angle(turn) @ state.rotation,
                     state.placement + placement)

    def _mask_gradients(self, camera: WeakCamera, vertices: Tensor, masks: Tensor,
                        renderer: Renderer) -> tuple[Tensor, Tensor]:
        """Negative gradients of `silhouette_loss` and `contour_loss` of meshes (N, V, 3) against masks (N, S, S) by the
        shifts of the handles, (N, H, 3) each."""
        chance = (torch.arange(CONTOUR_SAMPLES, device=masks.device) + 0.5) / CONTOUR_SAMPLES
        with torch.enable_grad():
            points = camera.project(vertices).requires_grad_()
            mask = mask_term(points, self.shape.faces, masks, renderer).sum()
            contour = contour_loss(points[..., :2], samples_inside(masks, chance.expand(len(masks), -1))).sum()
            gradients = [torch.autograd.grad(term, points)[0][..., :2] for term in (mask, contour)]
        of_mask, of_contour = (in_object(-self.shape.weights.T @ gradient, camera) for gradient in gradients)
        return of_mask / MASK_UNIT, of_contour / CONTOUR_UNIT

    def _in_units(self, output: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Basis logits, handles and placement in their units, from a network's output (N, C)."""
        bases, handles = len(self.shape.latent), self.shape.weights.shape[1]
        logits, motion, placement = output.split([bases, handles * HANDLE_SIZE, 3], 1)
        return (logits, motion.unflatten(1, (-1, HANDLE_SIZE)) * output.new_tensor(HANDLE_UNITS),
                PLACEMENT_UNIT * placement)

    def predict(self, state: State) -> Prediction:
        base = self.shape.base(basis_weights(state.basis_logits))
        return Prediction(state, base, self.shape.deformed(base, state.handles))

    def texture_flow(self, code: Tensor, prediction: Prediction, renderer: Renderer, size: int) -> Tensor:
        """(N, ROWS, COLUMNS, 2) crop coordinates at which texels of the UV map find their colours."""
        return self.flow_correction(code) + surface_flow(self.shape, self.texels, prediction.vertices,
                                                         prediction.camera, renderer, size)

    def forward(self, images: Tensor, masks: Tensor, renderer: Renderer) -> tuple[Prediction, InitialPrediction]:
        """The refined and the initial prediction of images (N, 3, S, S) and masks (N, S, S) in 0..1."""
        initial = self.initial_prediction(images, masks)
        return self.refined(initial.encoding, self.predict(initial.state), renderer), initial


def nearest_hypotheses(hypotheses: Tensor, rotations: Tensor) -> Tensor:
    """(N,) which of hypotheses (C, 3, 3) or (N, C, 3, 3) is nearest to rotations (N, 3, 3)."""
    return angle_between(hypotheses, rotations.unsqueeze(1)).argmin(1)


def in_object(vectors: Tensor, camera: WeakCamera) -> Tensor:
    """Vectors of the picture (N, P, 2), crop units, in object space (N, P, 3), object units."""
    flat = torch.cat([vectors, torch.zeros_like(vectors[..., :1])], -1)
    return flat @ camera.rotation / camera.scale[:, None, None]


def landmarks_of(shape: CategoryShape) -> Tensor:
    """(M,) vertices that lie far from one another on the mean of the bases, in mirrored pairs or on the plane."""
    mean = shape.bases().detach().mean(0)
    parts = parts_of_body(mean, shape.places, shape.faces)
    return spread_out(parts.features, parts.central, shape.mirror, min(LANDMARKS, len(mean)))
