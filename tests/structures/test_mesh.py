"""Meshes: areas in closed form, sampling uniform by area."""

import numpy as np
import pytest
from scipy import stats

from mae3d.datasets.simulators.objects import primitives
from mae3d.errors import DataError
from mae3d.structures.mesh import Mesh, join_meshes


def volume(mesh: Mesh) -> float:
    """Signed volume by the divergence theorem: positive when faces look outward."""
    a, b, c = (mesh.vertices[mesh.faces[:, corner]] for corner in range(3))
    return float((a * np.cross(b, c)).sum() / 6)


CLOSED_FORMS = {
    "box": (primitives.box((1, 2, 3), (5, 5, 5)), 22.0, 6.0),
    "cylinder": (primitives.cylinder(1, 2), 6 * np.pi, 2 * np.pi),
    "cone": (primitives.cylinder(1, 2, top=0), np.pi * (1 + 5**0.5), 2 * np.pi / 3),
    "sphere": (primitives.sphere(1.0), 4 * np.pi, 4 / 3 * np.pi),
    "torus": (primitives.torus(1, 0.3), 4 * np.pi**2 * 0.3, 2 * np.pi**2 * 0.09),
    "rod": (primitives.rod((0, 0, 0), (1, 2, 2), 0.5), 2 * np.pi * 0.5 * 3.5, np.pi * 0.25 * 3),
    "prism": (primitives.prism([(0, 0), (1, 0), (1, 1), (0, 1)], 2.0), 10.0, 2.0),
    "pair": (primitives.mirror(primitives.box((1, 1, 1), (2, 0, 0))), 12.0, 2.0),
}


@pytest.mark.parametrize("name", CLOSED_FORMS)
def test_primitives_have_the_area_and_volume_of_their_solid(name):
    mesh, area, content = CLOSED_FORMS[name]
    exact = name in ("box", "prism", "pair")
    assert mesh.areas().sum() == pytest.approx(area, rel=1e-9 if exact else 0.06)
    assert volume(mesh) == pytest.approx(content, rel=1e-9 if exact else 0.1)


def test_sampling_is_proportional_to_area_and_uniform_within_a_triangle():
    generator = np.random.default_rng(0)
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 2], [3, 0, 2], [0, 3, 2]], dtype=float)
    mesh = Mesh(vertices, np.array([[0, 1, 2], [3, 4, 5], [0, 0, 1]]))  # areas 0.5, 4.5 and 0
    points, normals, faces = mesh.sample_surface(20_000, generator)
    counts = np.bincount(faces, minlength=3)
    assert counts[2] == 0
    assert stats.chisquare(counts[:2], [2000, 18000]).pvalue > 1e-3
    np.testing.assert_allclose(normals, np.broadcast_to([0, 0, 1], normals.shape), atol=1e-6)
    # In a right triangle of legs 3 the x coordinate has the distribution function 1 - (1 - x/3)^2.
    x = points[faces == 1, 0]
    assert stats.kstest(x, lambda v: 1 - (1 - np.clip(v / 3, 0, 1)) ** 2).pvalue > 1e-3
    assert (points[faces == 1, 0] + points[faces == 1, 1] <= 3 + 1e-5).all()


def test_points_of_a_sphere_lie_on_it_and_normals_point_out():
    mesh = primitives.sphere(2.0, (1, 0, 0))
    points, normals, _ = mesh.sample_surface(2000, np.random.default_rng(1))
    radius = np.linalg.norm(points - [1, 0, 0], axis=1)
    assert radius.min() > 1.9
    assert radius.max() < 2.0 + 1e-5
    assert ((points - [1, 0, 0]) * normals).sum(1).min() > 1.8


def test_mirroring_transform_keeps_normals_outward():
    mesh = primitives.box((1, 2, 3)).transformed(np.diag([-1, 1, 2]), (4, 0, 0))
    assert volume(mesh) == pytest.approx(12.0)


def test_joined_parts_and_errors():
    joined = join_meshes([primitives.box((1, 1, 1)), primitives.box((1, 1, 1), (3, 0, 0)).with_part(4)])
    assert joined.part.tolist() == [0] * 12 + [4] * 12
    with pytest.raises(DataError, match=r"faces refer to vertices 0\.\.9, but there are 3"):
        Mesh(np.zeros((3, 3)), np.array([[0, 1, 9]]))
    with pytest.raises(DataError, match="without a finite, positive area"):
        Mesh(np.zeros((3, 3)), np.array([[0, 1, 2]])).sample_surface(5, np.random.default_rng(0))
