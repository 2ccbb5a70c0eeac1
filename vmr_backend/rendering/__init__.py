"""The differentiable renderer: soft silhouettes, soft attributes, textured colour and hard visibility of meshes."""

from .interface import Renderer, Visibility

__all__ = ["RENDERERS", "Renderer", "Visibility", "get_renderer"]

RENDERERS = ("warp", "pytorch3d", "reference")


def get_renderer(name: str = "warp", device="cpu") -> Renderer:
    """The renderer of that name ("warp", "pytorch3d" or "reference") for tensors on `device`.

    Each renderer is imported only when asked for, since PyTorch3D is often absent and Warp takes a second to start.
    """
    if name == "warp":
        from .warp_renderer import WarpRenderer

        return WarpRenderer(device)
    if name == "pytorch3d":
        from .pytorch3d_renderer import PyTorch3DRenderer

        return PyTorch3DRenderer(device)
    if name == "reference":
        from .reference import ReferenceRenderer

        return ReferenceRenderer(device)
    raise ValueError(f"renderer {name!r} is unknown; known are {', '.join(RENDERERS)}")
