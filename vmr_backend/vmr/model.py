"""The category model: from a picture of the subject to its shape, pose, camera and texture (VMR 3.1)."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..geometry.cameras import LEVEL_CAMERA
from ..geometry.rotations import about_z, from_axis_angle, from_two_columns
from ..rendering import Renderer
from .encoders import cut_out, encoder_of, weightless
from .objective import WeakCamera
from .shape import HANDLE_SIZE, CategoryShape, shares_of
from .texture import FlowCorrection, Texels, surface_flow

CODE = 256
"""Of a picture; CMR: 200."""
HIDDEN = 384
"""Width between a code and what is read off it."""
HANDLE_UNITS = (1.0,) * 3 + (0.3,) * 6
"""What 1 in the network's words means for a handle: radians, logarithm of a scale, object units."""
LOOK_SIZE = 48
"""Pixels across the drawing of the mesh that a second look compares with the picture."""


@dataclass(frozen=True)
class Architecture:
    """What a model file says of its network."""

    encoder: str = "small"
    image_size: int = 96
    """Pixels across the pictures it takes."""
    hypotheses: int = 8
    """Cameras tried, each around a heading of its own."""
    looks: int = 2
    """How often the picture is looked at again, beside a drawing of the mesh found so far."""


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

    def detached(self) -> State:
        return State(self.shares.detach(), self.handles.detach(), self.rotation.detach(), self.place.detach())

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
class FirstLook:
    """What N pictures say by themselves."""

    state: State
    hypotheses: Hypotheses
    code: Tensor
    """(N, CODE)."""


class CategoryModel(nn.Module):
    """The network of a category and its shape."""

    anchors: Tensor
    """(C, 3, 3) object to camera, headings all round; a level camera."""

    def __init__(self, shape: CategoryShape, architecture: Architecture):
        super().__init__()
        self.shape = shape
        self.architecture = architecture
        bases, handles = len(shape.latent), shape.weights.shape[1]
        self.encoder = encoder_of(architecture.encoder, 1, CODE)
        headings = torch.arange(architecture.hypotheses) * (2 * torch.pi / architecture.hypotheses)
        self.register_buffer("anchors", LEVEL_CAMERA @ about_z(headings))
        self.trunk = nn.Sequential(nn.Linear(CODE, HIDDEN), nn.ReLU(inplace=True))
        self.shares = weightless(nn.Linear(HIDDEN, bases))
        self.handles = weightless(nn.Linear(HIDDEN, handles * HANDLE_SIZE))
        self.place = weightless(nn.Linear(HIDDEN, 3))
        self.probabilities = weightless(nn.Linear(HIDDEN, architecture.hypotheses))
        self.turns = weightless(nn.Linear(HIDDEN, architecture.hypotheses * 6))
        self.register_buffer("usual_place", torch.zeros(3))
        self.flow_correction = FlowCorrection(CODE)
        self.texels = Texels(shape.sphere)
        if architecture.looks:
            self.second_encoder = encoder_of(architecture.encoder, 5, CODE)
            state = bases + handles * HANDLE_SIZE + 9 + 3
            self.second_trunk = nn.Sequential(nn.Linear(CODE + state, HIDDEN), nn.ReLU(inplace=True),
                                              nn.Linear(HIDDEN, HIDDEN), nn.ReLU(inplace=True))
            self.correction = weightless(nn.Linear(HIDDEN, bases + handles * HANDLE_SIZE + 3 + 3))

    def first_look(self, images: Tensor, masks: Tensor) -> FirstLook:
        """What the picture alone says; the state has the likeliest camera."""
        code = self.encoder(cut_out(images, masks))
        found = self.trunk(code)
        turns = from_two_columns(self.turns(found).unflatten(1, (-1, 6)))
        hypotheses = Hypotheses(turns @ self.anchors, self.probabilities(found))
        handles = self.handles(found).unflatten(1, (-1, HANDLE_SIZE)) * found.new_tensor(HANDLE_UNITS)
        rotation = hypotheses.chosen(hypotheses.logits.argmax(1))
        state = State(self.shares(found), handles, rotation, self.usual_place + 0.3 * self.place(found))
        return FirstLook(state, hypotheses, code)

    def look_again(self, images: Tensor, masks: Tensor, before: Prediction, renderer: Renderer) -> State:
        """A state corrected by comparing the picture with a drawing of the mesh (after PyMAF, Zhang et al. 2021)."""
        state = before.state.detached()
        drawing = draw(self.shape, before.vertices.detach(), state.camera, masks.shape[-1], renderer)
        code = self.second_encoder(torch.cat([cut_out(images, masks), drawing], 1))
        found = self.correction(self.second_trunk(torch.cat([code, state.flat()], 1)))
        shares, handles, turn, place = found.split(
            [state.shares.shape[1], state.handles[0].numel(), 3, 3], 1)
        handles = handles.unflatten(1, (-1, HANDLE_SIZE)) * found.new_tensor(HANDLE_UNITS)
        return State(state.shares + shares, state.handles + handles, from_axis_angle(turn) @ state.rotation,
                     state.place + 0.3 * place)

    def predict(self, state: State) -> Prediction:
        base = self.shape.base(shares_of(state.shares))
        return Prediction(state, base, self.shape.deformed(base, state.handles))

    def texture_flow(self, code: Tensor, prediction: Prediction, renderer: Renderer, size: int) -> Tensor:
        """Where the texels of the UV map find their colours (N, ROWS, COLUMNS, 2), crop coordinates."""
        return self.flow_correction(code) + surface_flow(self.shape, self.texels, prediction.vertices,
                                                         prediction.camera, renderer, size)

    def forward(self, images: Tensor, masks: Tensor, renderer: Renderer) -> tuple[Prediction, FirstLook]:
        """What is believed after the last look, and what the first one said, of images (N, 3, S, S) and masks (N, S, S)
        in 0..1."""
        first = self.first_look(images, masks)
        prediction = self.predict(first.state)
        for _ in range(self.architecture.looks):
            prediction = self.predict(self.look_again(images, masks, prediction, renderer))
        return prediction, first


@torch.no_grad()
def draw(shape: CategoryShape, vertices: Tensor, camera: WeakCamera, size: int, renderer: Renderer) -> Tensor:
    """A drawing (N, 4, size, size) of meshes: where on the sphere each pixel's surface lies, and where there is any."""
    seen = renderer.visibility(camera.project(vertices), shape.faces, LOOK_SIZE)
    corners = shape.places[shape.faces[seen.face_index.clamp_min(0).long()]]
    covered = (seen.face_index >= 0).float().unsqueeze(-1)
    drawing = torch.cat([(seen.barycentrics.unsqueeze(-1) * corners).sum(-2) * covered, covered], -1)
    return nn.functional.interpolate(drawing.movedim(-1, 1), size=(size, size), mode="bilinear", align_corners=False)
