"""What is fitted of a template: seams are welded, fine meshes decimated, and every vertex follows what is fitted."""

import numpy as np
import pytest
from tadpole import tadpole

from vmr_backend.geometry.topology import edges_of
from vmr_backend.templates.proxy import proxy_of


def split(template):
    """The template with its own three vertices for each face, as exports with seams have them."""
    chosen = template.faces.ravel()
    return tadpole(vertices=template.vertices[chosen], skin_bones=template.skin_bones[chosen],
                   skin_weights=template.skin_weights[chosen], faces=np.arange(len(chosen)).reshape(-1, 3))


def borders(faces) -> int:
    """Edges that belong to one face alone."""
    sides = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]], axis=2).reshape(-1, 2)
    return int((np.unique(sides, axis=0, return_counts=True)[1] == 1).sum())


def test_seams_are_welded():
    template = tadpole()
    proxy = proxy_of(split(template), 3000)
    assert len(proxy.mesh.vertices) == len(template.vertices) and not borders(proxy.mesh.faces)
    assert len(edges_of(proxy.mesh.faces)) == 3 * len(template.faces) / 2


@pytest.mark.parametrize("level", [4, 5])
def test_fine_meshes_are_decimated_and_keep_their_shape_and_weights(level):
    template = tadpole(level)
    proxy = proxy_of(template, 600)
    mesh = proxy.mesh
    assert 500 < len(mesh.vertices) < 700 and not borders(mesh.faces)
    np.testing.assert_allclose(np.ptp(mesh.vertices, axis=0), np.ptp(template.vertices, axis=0), rtol=0.02)
    np.testing.assert_allclose(mesh.weights.sum(1), 1, atol=1e-5)
    nearest = np.linalg.norm(mesh.vertices[:, None] - template.vertices, axis=2).argmin(1)
    np.testing.assert_allclose(mesh.weights, template.dense_weights[nearest])


def test_the_whole_mesh_follows_what_is_fitted():
    def offset(vertices):
        return 0.1 * np.sin(3 * vertices[:, [1, 2, 0]] + 1)

    template = tadpole(4)
    proxy = proxy_of(template, 600)
    followed = (offset(proxy.mesh.vertices)[proxy.near] * proxy.share[..., None]).sum(1)
    apart = np.linalg.norm(followed - offset(template.vertices), axis=1)
    assert np.quantile(apart, 0.95) < 0.01 and apart.max() < 0.03
    welded = proxy_of(split(template), 10**6)
    followed = (welded.mesh.vertices[welded.near] * welded.share[..., None]).sum(1)
    np.testing.assert_allclose(followed, split(template).vertices, atol=1e-5)
