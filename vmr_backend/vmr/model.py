"""The category model: from a picture of the subject to its shape, pose, camera and texture (VMR 3.1)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from ..bodies.category import HANDLE_SIZE, CategoryShape, basis_weights
from ..fitting.data_terms import softness
from ..geometry.body import parts_of_body, spread_out
from ..geometry.cameras import LEVEL_CAMERA, WeakCamera
from ..geometry.rotations import about_z, angle_between, from_axis_angle, from_two_columns
from ..losses import contour_loss, silhouette_loss
from ..rendering import Renderer
from .encoders import Landmarks, cut_out, encoder_of, read_heat, weightless
from .objective import places_inside
from .texture import FlowCorrection, Texels, surface_flow

CODE = 256
"""Of a picture; CMR: 200."""
HIDDEN = 512
"""Width between what is seen and what is read off it."""
HANDLE_UNITS = (1.0,) * 3 + (0.3,) * 6
"""What 1 in the network's words means for a handle: radians, logarithm of a scale, object units."""
PLACE_UNIT = 0.3
"""Crop units, likewise, and for the scale's logarithm."""
LANDMARKS = 64
"""Places of the surface that are looked for in a picture."""
LANDMARK_UNIT, MASK_UNIT, CONTOUR_UNIT = 1 / 3, 1 / 5, 1 / 80
"""What 1 means, where a second look reads by how much landmarks are off, and how the mask and its places pull."""
PULLING = 128
"""Places inside a mask that pull at a mesh."""
MISFIT = 0.03
"""Crop units by which a camera's landmarks must be further off for it to be e times less likely."""


@dataclass(frozen=True)
class Architecture:
    """What a model file says of its network."""

    encoder: str = "small"
    image_size: int = 96
    """Pixels across the pictures it takes."""
    hypotheses: int = 8
    """Cameras tried, each around a heading of its own."""
    looks: int = 6
    """How often a mesh is compared with the landmarks seen and with the mask, and corrected."""


@dataclass(frozen=True)
class State:
    """What a model believes of N pictures, in the network's words."""

    shares: Tensor
    """(N, N_b) logits of the shape bases."""
    handles: Tensor
    """(N, H, HANDLE_SIZE)."""
    rotation: Tensor
    """(N, 3, 3), object to camera."""
    place: Tensor
    """(N, 3) shift in crop units and the scale's logarithm."""

    @property
    def camera(self) -> WeakCamera:
        return WeakCamera(self.rotation, self.place[:, 2].exp(), self.place[:, :2])

    def tensors(self) -> tuple[Tensor, ...]:
        """All of it, in order."""
        return self.shares, self.handles, self.rotation, self.place

    def detached(self) -> State:
        return State(*(value.detach() for value in self.tensors()))

    def flat(self) -> Tensor:
        """(N, C) as a second look reads it."""
        return torch.cat([self.shares, self.handles.flatten(1), self.rotation.flatten(1), self.place], 1)


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
    """The cameras that a model weighs for N pictures."""

    rotations: Tensor
    """(N, C, 3, 3), object to camera."""
    logits: Tensor
    """(N, C) of their probabilities."""

    def chosen(self, index: Tensor) -> Tensor:
        """Rotations (N, 3, 3) of one hypothesis (N,) each."""
        return self.rotations[torch.arange(len(index), device=index.device), index]


@dataclass(frozen=True)
class Seen:
    """What N pictures say before a mesh is made of it."""

    code: Tensor
    """(N, CODE)."""
    landmarks: Tensor
    """(N, M, 2) where the landmarks are, crop coordinates."""
    certainty: Tensor
    """(N, M) of that."""
    heat: Tensor
    """(N, M, H, W) that they were read from, logits."""
    masks: Tensor
    """(N, S, S) in 0..1, as given."""

    def flat(self) -> Tensor:
        """(N, C) as a network reads it."""
        return torch.cat([self.code, self.landmarks.flatten(1), self.certainty], 1)


@dataclass(frozen=True)
class FirstLook:
    """What N pictures say by themselves."""

    seen: Seen
    state: State
    """With the likeliest camera."""
    hypotheses: Hypotheses

    @property
    def code(self) -> Tensor:
        return self.seen.code

    def state_under(self, index: Tensor) -> State:
        """With one hypothesis (N,) of the cameras each."""
        return replace(self.state, rotation=self.hypotheses.chosen(index))


class CategoryModel(nn.Module):
    """The network of a category and its shape."""

    anchors: Tensor
    """(C, 3, 3) object to camera, headings all round; a level camera."""
    landmarks: Tensor
    """(M,) vertices that are looked for in pictures."""
    usual_place: Tensor
    """(3,) shift and logarithm of the scale from which corrections start."""

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
        self.encoder = encoder_of(architecture.encoder, 1, CODE)
        self.finder = Landmarks(self.encoder.widths, len(self.landmarks))
        seen, state = CODE + 3 * len(self.landmarks), bases + handles * HANDLE_SIZE
        self.trunk = nn.Sequential(nn.Linear(seen, HIDDEN), nn.ReLU(inplace=True), nn.Linear(HIDDEN, HIDDEN),
                                   nn.ReLU(inplace=True))
        self.body = weightless(nn.Linear(HIDDEN, state + 3))
        self.probabilities = weightless(nn.Linear(HIDDEN, architecture.hypotheses))
        self.turns = weightless(nn.Linear(HIDDEN, architecture.hypotheses * 6))
        if architecture.looks:
            compared = seen + state + 9 + 3 + 3 * (len(self.landmarks) + 2 * handles)
            self.second_trunk = nn.Sequential(nn.Linear(compared, HIDDEN), nn.ReLU(inplace=True),
                                              nn.Linear(HIDDEN, HIDDEN), nn.ReLU(inplace=True))
            self.correction = weightless(nn.Linear(HIDDEN, state + 3 + 3))
            # What pulls at a handle mostly moves it along: no trunk is needed to learn that.
            self.direct_correction = weightless(nn.Linear(compared, state + 3 + 3))
        self.flow_correction = FlowCorrection(CODE)
        self.texels = Texels(shape.sphere)

    def first_look(self, images: Tensor, masks: Tensor) -> FirstLook:
        """What the picture alone says."""
        maps, code = self.encoder(cut_out(images, masks))
        heat = self.finder(maps)
        seen = Seen(code, *read_heat(heat), heat, masks)
        found = self.trunk(seen.flat())
        shares, handles, place = self._in_units(self.body(found))
        turns = from_two_columns(self.turns(found).unflatten(1, (-1, 6)))
        hypotheses = Hypotheses(turns @ self.anchors, self.probabilities(found))
        state = State(shares, handles, hypotheses.rotations[:, 0], self.usual_place + place)
        first = FirstLook(seen, state, hypotheses)
        return replace(first, state=first.state_under(self._likeliest(first)))

    @torch.no_grad()
    def _likeliest(self, first: FirstLook) -> Tensor:
        """(N,) the hypothesis that is believed most and whose landmarks are least off."""
        points = self.predict(first.state).vertices[:, self.landmarks]
        cameras, (count, hypotheses) = first.hypotheses.rotations.flatten(0, 1), first.hypotheses.logits.shape
        each = State(first.state.shares, first.state.handles, cameras,
                     first.state.place.repeat_interleave(hypotheses, 0)).camera
        seen = each.project(points.repeat_interleave(hypotheses, 0))[..., :2].unflatten(0, (count, hypotheses))
        off = (seen - first.seen.landmarks.unsqueeze(1)).norm(dim=-1).mean(-1)
        return (first.hypotheses.logits.log_softmax(1) - off / MISFIT).argmax(1)

    def look_again(self, seen: Seen, before: Prediction, renderer: Renderer) -> State:
        """A state corrected by comparing the mesh found so far with the picture: where landmarks are seen and where it
        has them, and how the mask pulls at it.

        This is a descent whose steps are learnt (Song et al. 2020): what it reads are gradients, and what it says are
        corrections.
        """
        state = before.state.detached()
        camera, vertices = state.camera, before.vertices.detach()
        off = seen.landmarks - camera.project(vertices)[:, self.landmarks, :2]
        pulls = self._pulls(camera, vertices, seen.masks, renderer)
        compared = torch.cat([in_object(off, camera) / LANDMARK_UNIT, *pulls], 1)
        read = torch.cat([seen.flat(), state.flat(), compared.flatten(1)], 1)
        found = self.correction(self.second_trunk(read)) + self.direct_correction(read)
        body, turn = found.split([found.shape[1] - 3, 3], 1)
        shares, handles, place = self._in_units(body)
        return State(state.shares + shares, state.handles + handles, from_axis_angle(turn) @ state.rotation,
                     state.place + place)

    def _pulls(self, camera: WeakCamera, vertices: Tensor, masks: Tensor,
               renderer: Renderer) -> tuple[Tensor, Tensor]:
        """How masks (N, S, S), and places inside them, pull at each handle of meshes (N, V, 3): the falling gradient of
        `silhouette_loss` and `contour_loss`, (N, H, 3) each."""
        size = masks.shape[-1]
        chance = (torch.arange(PULLING, device=masks.device) + 0.5) / PULLING
        with torch.enable_grad():
            points = camera.project(vertices).requires_grad_()
            alpha = renderer.silhouette(points, self.shape.faces, size, softness(size))
            mask = silhouette_loss(alpha, masks, torch.ones_like(alpha)).sum()
            contour = contour_loss(points[..., :2], places_inside(masks, chance.expand(len(masks), -1))).sum()
            gradients = [torch.autograd.grad(term, points)[0][..., :2] for term in (mask, contour)]
        pulls = [in_object(-self.shape.weights.T @ gradient, camera) for gradient in gradients]
        return pulls[0] / MASK_UNIT, pulls[1] / CONTOUR_UNIT

    def _in_units(self, said: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Logits of the shares, handles and place that a network's words (N, C) mean."""
        bases, handles = len(self.shape.latent), self.shape.weights.shape[1]
        shares, motion, place = said.split([bases, handles * HANDLE_SIZE, 3], 1)
        return shares, motion.unflatten(1, (-1, HANDLE_SIZE)) * said.new_tensor(HANDLE_UNITS), PLACE_UNIT * place

    def predict(self, state: State) -> Prediction:
        base = self.shape.base(basis_weights(state.shares))
        return Prediction(state, base, self.shape.deformed(base, state.handles))

    def texture_flow(self, code: Tensor, prediction: Prediction, renderer: Renderer, size: int) -> Tensor:
        """Where the texels of the UV map find their colours (N, ROWS, COLUMNS, 2), crop coordinates."""
        return self.flow_correction(code) + surface_flow(self.shape, self.texels, prediction.vertices,
                                                         prediction.camera, renderer, size)

    def forward(self, images: Tensor, masks: Tensor, renderer: Renderer) -> tuple[Prediction, FirstLook]:
        """What is believed after the last look, and what the first one said, of images (N, 3, S, S) and masks (N, S, S)
        in 0..1."""
        first = self.first_look(images, masks)
        return self.looked(first.seen, self.predict(first.state), renderer), first

    def looked(self, seen: Seen, prediction: Prediction, renderer: Renderer) -> Prediction:
        """What is believed after the last look, from what was before the first of them."""
        for _ in range(self.architecture.looks):
            prediction = self.predict(self.look_again(seen, prediction, renderer))
        return prediction


def nearest_hypotheses(hypotheses: Tensor, rotations: Tensor) -> Tensor:
    """(N,) which of hypotheses (C, 3, 3) or (N, C, 3, 3) is nearest to rotations (N, 3, 3)."""
    return angle_between(hypotheses, rotations.unsqueeze(1)).argmin(1)


def in_object(vectors: Tensor, camera: WeakCamera) -> Tensor:
    """Vectors of the picture (N, P, 2), crop units, as they lie in object space (N, P, 3), object units."""
    flat = torch.cat([vectors, torch.zeros_like(vectors[..., :1])], -1)
    return flat @ camera.rotation / camera.scale[:, None, None]


def landmarks_of(shape: CategoryShape) -> Tensor:
    """(M,) vertices that lie far from one another on the mean of the bases, in mirrored pairs or on the plane."""
    mean = shape.bases().detach().mean(0)
    parts = parts_of_body(mean, shape.places, shape.faces)
    return spread_out(parts.features, parts.central, shape.mirror, min(LANDMARKS, len(mean)))
