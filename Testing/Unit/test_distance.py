"""Distances to triangle surfaces are exact and have the right sign."""

from __future__ import annotations

import numpy as np
import pytest

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.core.geometry import Similarity
from ReShapeITLib.core.mesh import TriangleSurface
from ReShapeITLib.distance.of_mesh import MeshDistance


def box(low, high):
    """Surface of an axis-parallel box, two triangles a side."""
    corners = np.array([[x, y, z] for z in (0, 1) for y in (0, 1) for x in (0, 1)], dtype=float)
    quads = [[0, 2, 3, 1], [4, 5, 7, 6], [0, 1, 5, 4], [2, 6, 7, 3], [0, 4, 6, 2], [1, 3, 7, 5]]
    faces = np.array([[q[a], q[b], q[c]] for q in quads for a, b, c in ((0, 1, 2), (0, 2, 3))])
    low, high = np.asarray(low, dtype=float), np.asarray(high, dtype=float)
    return TriangleSurface.from_triangles(low + corners * (high - low), faces)


def box_distance(points, low, high):
    """Signed distance to that box in closed form."""
    outside = np.abs(points - (np.add(low, high) / 2)) - np.subtract(high, low) / 2
    return np.linalg.norm(np.maximum(outside, 0), axis=1) + np.minimum(outside.max(axis=1), 0)


def sphere(radius, rings=40):
    """A UV sphere: rings of very different triangles, slivers at the poles."""
    import vtk

    source = vtk.vtkSphereSource()
    source.SetRadius(radius)
    source.SetThetaResolution(2 * rings)
    source.SetPhiResolution(rings)
    source.SetOutputPointsPrecision(vtk.vtkAlgorithm.DOUBLE_PRECISION)
    source.Update()
    return TriangleSurface.from_vtk(source.GetOutput())


def bumpy(rings=60):
    """A closed surface with ridges, pits and a narrow waist."""
    ball = sphere(1.0, rings)
    x, y, z = ball.vertices_ras.T
    radius = 20 + 4 * np.sin(5 * x) * np.cos(4 * y) + 6 * z**2 + 2 * np.sin(9 * z)
    return TriangleSurface.from_triangles(ball.vertices_ras * radius[:, None] + [100.0, -50.0, 30.0], ball.faces)


def query_points(surface, n, rng):
    """Points everywhere around a surface, close to it, and exactly above its corners and edges."""
    low, high = surface.vertices_ras.min(axis=0), surface.vertices_ras.max(axis=0)
    size = high - low
    anywhere = low - size + 3 * size * rng.random((n, 3))
    close = surface.sample_points(n, rng)[0] + rng.normal(0, 0.01 * size.max(), (n, 3))
    corners = surface.vertices_ras[rng.integers(0, len(surface.vertices_ras), n)]
    return np.concatenate([anywhere, close, corners + rng.normal(0, 0.1 * size.max(), (n, 3))])


def brute_force(surface, points):
    """Unsigned distances over all triangles: the foot in the plane if it lies inside, else the nearest edge point."""
    best = np.full(len(points), np.inf)
    for a, b, c in surface.vertices_ras[surface.faces]:
        for p, q in ((a, b), (b, c), (c, a)):
            t = np.clip((points - p) @ (q - p) / ((q - p) @ (q - p)), 0, 1)
            best = np.minimum(best, np.linalg.norm(points - p - t[:, None] * (q - p), axis=1))
        normal = np.cross(b - a, c - a)
        normal = normal / np.linalg.norm(normal)
        sides = [np.cross(normal, q - p) @ (points - p).T for p, q in ((a, b), (b, c), (c, a))]
        over = np.all(np.array(sides) >= 0, axis=0)
        best[over] = np.minimum(best[over], np.abs((points[over] - a) @ normal))
    return best


def test_a_box_has_its_analytic_distance_and_sign(rng):
    low, high = [-3.0, 2.0, 10.0], [4.0, 5.0, 11.0]
    surface = box(low, high)
    points = query_points(surface, 2000, rng)
    assert np.allclose(MeshDistance(surface).sdf_mm(points), box_distance(points, low, high), atol=1e-9)


def test_distances_are_those_over_all_triangles(rng):
    surface = bumpy(rings=16)
    points = query_points(surface, 500, rng)
    distances, _, _ = MeshDistance(surface).closest(points)
    assert np.allclose(distances, brute_force(surface, points), atol=1e-9)


def test_distances_and_signs_agree_with_vtk(rng):
    import vtk

    surface = bumpy()
    oracle = vtk.vtkImplicitPolyDataDistance()
    oracle.SetInput(surface.to_vtk())
    points = query_points(surface, 400, rng)
    expected = np.array([oracle.EvaluateFunction(point) for point in points])
    assert np.allclose(MeshDistance(surface).sdf_mm(points), expected, atol=1e-6)


def test_a_fine_sphere_has_the_distance_to_its_radius(rng):
    mesh = MeshDistance(sphere(50.0, rings=120))
    directions = rng.normal(size=(3000, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    radii = 150.0 * rng.random(3000)
    # The mesh lies inside the sphere by up to the sagitta of its triangles.
    assert np.allclose(mesh.sdf_mm(directions * radii[:, None]), radii - 50.0, atol=0.03)


def test_the_centre_of_a_sphere_is_no_trap():
    """All vertices are equally far from it, so all of them are candidates."""
    mesh = MeshDistance(sphere(50.0, rings=60))
    assert mesh.sdf_mm(np.zeros((1, 3)))[0] == pytest.approx(-50.0, abs=0.1)


def test_points_on_the_surface_have_distance_zero(rng):
    surface = bumpy()
    points, _, _ = surface.sample_points(3000, rng)
    assert np.abs(MeshDistance(surface).sdf_mm(points)).max() < 1e-9


def test_the_closest_point_lies_on_its_face_at_that_distance(rng):
    surface = bumpy()
    points = query_points(surface, 1000, rng)
    distances, face_ids, closest = MeshDistance(surface).closest(points)
    assert np.allclose(np.linalg.norm(points - closest, axis=1), distances)
    a, b, c = (surface.vertices_ras[surface.faces[face_ids, k]] for k in range(3))
    normal = np.cross(b - a, c - a)
    areas = [np.linalg.norm(np.cross(p - closest, q - closest), axis=1) for p, q in ((a, b), (b, c), (c, a))]
    assert np.allclose(np.sum(areas, axis=0), np.linalg.norm(normal, axis=1), rtol=1e-6, atol=1e-9)


def test_the_sign_is_right_at_a_sharp_spike(rng):
    """Beyond an acute corner the normal of a single touching face can point the wrong way; a pseudonormal cannot."""
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0], [-4.0, -4.0, 12.0]])
    faces = np.array([[0, 2, 1], [0, 1, 3], [1, 2, 3], [2, 0, 3]])
    surface = TriangleSurface.from_triangles(corners, faces)
    assert surface.volume_mm3 > 0
    points = np.array([-4.0, -4.0, 12.0]) + rng.normal(0, 1, (2000, 3))
    weights = np.linalg.solve(np.vstack([corners.T, np.ones(4)]), np.vstack([points.T, np.ones(len(points))]))
    inside = (weights > 0).all(axis=0)
    assert np.array_equal(MeshDistance(surface).sdf_mm(points) < 0, inside)


def test_several_pieces_are_one_surface(rng):
    a, b = box([0, 0, 0], [1, 1, 1]), box([3, 0, 0], [5, 2, 2])
    both = TriangleSurface.from_triangles(
        np.concatenate([a.vertices_ras, b.vertices_ras]), np.concatenate([a.faces, b.faces + len(a.vertices_ras)])
    )
    points = rng.uniform(-2, 7, (2000, 3))
    expected = np.minimum(box_distance(points, [0, 0, 0], [1, 1, 1]), box_distance(points, [3, 0, 0], [5, 2, 2]))
    assert np.allclose(MeshDistance(both).sdf_mm(points), expected, atol=1e-9)


def test_a_similarity_scales_the_distance(rng):
    surface = bumpy(rings=20)
    to_unit = Similarity(0.02, np.eye(3)[[1, 2, 0]], [0.1, -2.0, 0.5])
    points = query_points(surface, 500, rng)
    unit = MeshDistance(surface.transformed(to_unit)).sdf_mm(to_unit.apply(points))
    assert np.allclose(unit, 0.02 * MeshDistance(surface).sdf_mm(points), atol=1e-9)


def test_degenerate_faces_and_unused_vertices_do_no_harm(rng):
    surface = box([0, 0, 0], [2, 2, 2])
    vertices = np.concatenate([surface.vertices_ras, [[50.0, 50.0, 50.0]]])
    faces = np.concatenate([surface.faces, [[0, 0, 1], [2, 2, 2]]])
    points = rng.uniform(-3, 5, (1000, 3))
    distances, _, _ = MeshDistance(TriangleSurface.from_triangles(vertices, faces)).closest(points)
    assert np.allclose(distances, np.abs(box_distance(points, [0, 0, 0], [2, 2, 2])), atol=1e-9)


def test_many_points_in_several_chunks_agree_with_few(rng):
    mesh = MeshDistance(box([0, 0, 0], [1, 2, 3]))
    points = rng.uniform(-2, 5, (40_000, 3))
    assert np.array_equal(mesh.sdf_mm(points)[-7:], mesh.sdf_mm(points[-7:]))


def test_no_points_give_no_distances():
    assert MeshDistance(box([0, 0, 0], [1, 1, 1])).sdf_mm(np.empty((0, 3))).shape == (0,)


def test_an_empty_surface_is_refused():
    empty = TriangleSurface(np.empty((0, 3)), np.empty((0, 3), dtype=int), np.empty((0, 3)))
    with pytest.raises(BadInputError, match="needs a surface with faces"):
        MeshDistance(empty)


def test_points_that_are_not_finite_are_refused():
    with pytest.raises(BadInputError, match="finite"):
        MeshDistance(box([0, 0, 0], [1, 1, 1])).sdf_mm(np.array([[0.0, np.nan, 0.0]]))
