"""The differentiable renderer: soft silhouettes and hard visibility of meshes."""

import torch

from ..job import RENDERERS, BadInput
from .interface import Renderer, Visibility

__all__ = ["Renderer", "Visibility", "get_renderer"]


def get_renderer(name: str = RENDERERS[0], device="cpu") -> Renderer:
    """The renderer of that name, one of RENDERERS or "reference", for tensors on `device`.

    BadInput where PyTorch3D is asked for and not there. Each renderer is imported only when asked for, since PyTorch3D
    is often absent and Warp takes a second to start.
    """
    if name == "warp":
        from .warp_renderer import WarpRenderer

        return WarpRenderer(device)
    if name == "pytorch3d":
        try:
            from .pytorch3d_renderer import PyTorch3DRenderer
        except ImportError as error:
            raise BadInput(f"renderer: found {name!r}, but PyTorch3D cannot be imported ({error}); needs it built "
                           f"from source for PyTorch {torch.__version__}, or the renderer 'warp'") from None
        return PyTorch3DRenderer(device)
    if name == "reference":
        from .reference import ReferenceRenderer

        return ReferenceRenderer(device)
    raise ValueError(f"renderer {name!r} is unknown; known are {', '.join(RENDERERS)}, reference")
