"""Every tunable of the training of a category model (settings.py: those of a run)."""

from __future__ import annotations

from dataclasses import dataclass

from ..settings import Tunables, setting, weight


@dataclass(frozen=True)
class TrainingSettings(Tunables):
    """The values of the training of a category model."""

    image_size: int = setting(
        64, "Image Size", "Side of the square crop that the network takes", "input",
        minimum=32, maximum=512, unit="PIXEL", source="measured for a CPU; CMR and VMR: 256")
    encoder: str = setting(
        "small", "Encoder", "The convolutional part of the network", "input", choices={
            "small": "A small network for processors without a GPU",
            "resnet18": "ResNet-18, for GPUs; takes torchvision's ImageNet weights",
        }, source="CMR and VMR: ResNet-18")
    held_out: float = setting(
        0.1, "Held Out", "Fraction of the pictures that scores are measured on", "input",
        minimum=0.01, maximum=0.5, source="CUB's own split where it has one")

    bases: int = setting(
        8, "Shape Bases", "Shapes that base shapes are blended from; one is a single template", "shape",
        minimum=1, maximum=64, source="VMR: 8 (from memory)")
    handles: int = setting(
        32, "Handles", "Parts of the body that turn, scale and shift, and deform the base shape", "shape",
        minimum=4, maximum=128, source="measured")
    hypotheses: int = setting(
        8, "Camera Hypotheses", "Headings all round that the network chooses from", "camera",
        minimum=1, maximum=64, source="UMR: 8")
    refinements: int = setting(
        6, "Refinements", "Iterations in which a mesh is compared with landmarks and mask, and corrected", "camera",
        minimum=0, maximum=8, source="measured; PyMAF: 3")

    mean_shape_pictures: int = setting(
        256, "Mean Shape Pictures", "Pictures that the mean shape is fitted to", "stages",
        minimum=8, maximum=100000, source="measured")
    mean_shape_passes: int = setting(
        40, "Mean Shape Passes", "How often each of these takes part", "stages",
        minimum=1, maximum=10000, source="measured")
    instance_iterations: int = setting(
        80, "Iterations per Picture", "Steps of the fit of a mesh to each picture", "stages",
        minimum=1, maximum=10000, source="measured")
    steps: int = setting(
        9500, "Steps", "Updates of the network", "stages",
        minimum=10, maximum=10000000, source="measured; CMR: 500 epochs")
    batch: int = setting(
        16, "Batch", "Pictures in one update, over all processes", "stages",
        minimum=1, maximum=4096, source="CMR: 16")
    learning_rate: float = setting(
        1e-3, "Learning Rate", "Of the network, at its highest", "stages",
        minimum=1e-7, maximum=1.0, source="measured; CMR: 0.0001")
    validate_every: int = setting(
        1000, "Validate Every", "Steps from one measuring of scores to the next", "stages",
        minimum=1, maximum=10000000, source="measured")

    weight_mask: float = weight(1.0, "Mask", "Rendered silhouette against the mask", "CMR: 2; UMR: 3")
    weight_contour: float = weight(4.0, "Contour", "Distance of the mask's pixels from the mesh", "measured")
    weight_keypoint: float = weight(4.0, "Keypoints", "Projected keypoints against annotated ones",
                                     "VMR Eq. 2; CMR: 30 of another form")
    weight_arap: float = weight(3.0, "As Rigid As Possible", "Stretching of the mesh against its base shape",
                                 "VMR Eq. 3; weight measured")
    weight_deformation: float = weight(0.05, "Least Deformation", "Distance of vertices from the base shape",
                                        "CMR: 10 of another form")
    weight_laplacian: float = weight(100.0, "Smoothness", "Laplacian of the mean shape", "measured; CMR: 30")
    weight_handle: float = weight(0.01, "Idle Handles", "What handles do", "measured")
    weight_proportion: float = weight(0.3, "Even Proportions", "Difference in scale of the body's two sides",
                                       "measured")
    weight_texture: float = weight(0.5, "Texture", "Colours of the painted mesh against the picture", "CMR: 0.5")
    weight_texture_distance: float = weight(0.5, "Texture Distance", "Texture flow that leaves the mask", "CMR: 0.5")
