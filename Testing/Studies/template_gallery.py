"""Render a template beside three of its training cases rebuilt from their codes, with exact distances to the labels.

    python -m Testing.Studies.template_gallery --organ liver --output FOLDER

Needs the development data beside the repository (``../shared/data``). The cases are those with the least, the median
and the largest residual; each reconstruction is laid on its label by the similarity that fits best.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch
from scipy.spatial import cKDTree

from ReShapeITLib.core.geometry import Similarity
from ReShapeITLib.core.mesh import TriangleSurface
from ReShapeITLib.distance.narrow_band import extract_zero_level
from ReShapeITLib.distance.of_mesh import MeshDistance
from ReShapeITLib.distance.surface import surface_from_mask
from ReShapeITLib.interaction.alignment import AlignmentOptions, align_to_template
from ReShapeITLib.io.volumes import read_labels
from ReShapeITLib.pictures.rendering import render_panels
from ReShapeITLib.refinement.aligned import alignment_with_scale_prior
from ReShapeITLib.templates.template import OrganTemplate
from ReShapeITLib.training.export import template_surface

from .real_predictions import DATA

LOBES = {
    "lung_upper_lobe_right": 4,
    "lung_middle_lobe_right": 5,
    "lung_lower_lobe_right": 6,
    "lung_upper_lobe_left": 7,
    "lung_lower_lobe_left": 8,
}


def true_surface(organ: str, case: str) -> TriangleSurface:
    """Surface of the label of one case of the development data, RAS mm."""
    if organ in LOBES:
        volume = read_labels(DATA / "lung_lobes" / f"{case}.nrrd")
        return surface_from_mask(volume.layers[0] % 512 == LOBES[organ], volume.geometry)
    volume = read_labels(DATA / organ / f"{case}.nii.gz")
    return surface_from_mask(volume.layers[0] != 0, volume.geometry)


@torch.no_grad()
def reconstructed_surface(template: OrganTemplate, index: int, resolution: int = 160) -> TriangleSurface:
    """Surface of a training case from its codes alone, unit frame."""
    model = template.model
    deform = model.deform_layers(template.alpha[index : index + 1], template.beta[index : index + 1])

    def sdf(points):
        unit = torch.as_tensor(points, dtype=torch.float32)[None]
        return model.distance(deform, unit)[0].numpy()

    vertices, faces = extract_zero_level(sdf, (np.full(3, -1.15), np.full(3, 1.15)), resolution)
    return TriangleSurface.from_triangles(vertices, faces)


def laid_upon(rebuilt: TriangleSurface, truth: TriangleSurface, template: OrganTemplate) -> TriangleSurface:
    """A reconstruction (unit frame) in RAS mm: coherent point drift, then closest points both ways and the best
    similarity for them (Umeyama, 1991), until it rests."""
    rng = np.random.default_rng(0)
    to, of = truth.sample_points(6000, rng)[0], rebuilt.sample_points(6000, rng)[0]
    options = alignment_with_scale_prior(AlignmentOptions(), template)
    place = align_to_template(to[:2000], of[:2000], options).ras_to_unit.inverse()
    tree = cKDTree(to)
    for _ in range(60):
        moved = place.apply(of)
        near, back = tree.query(moved)[1], cKDTree(moved).query(to)[1]
        place = best_similarity(np.concatenate([of, of[back]]), np.concatenate([to[near], to]))
    return rebuilt.transformed(place)


def best_similarity(source: np.ndarray, target: np.ndarray) -> Similarity:
    """The similarity that brings (N, 3) points closest to their partners in the least squares sense."""
    means = source.mean(0), target.mean(0)
    a, b = source - means[0], target - means[1]
    u, singular, vt = np.linalg.svd(b.T @ a)
    signs = np.array([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    rotation = (u * signs) @ vt
    scale = float((singular * signs).sum() / (a**2).sum())
    return Similarity(scale, rotation, means[1] - scale * rotation @ means[0])


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--organ", required=True)
    parser.add_argument("--template")
    parser.add_argument("--output", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    shipped = Path(__file__).resolve().parents[2] / "Resources" / "Templates" / f"{arguments.organ}.safetensors"
    template = OrganTemplate.load(arguments.template or shipped)
    info = template.info
    surface = template_surface(template.model)
    scale = Similarity(float(np.exp(np.log(info.scales_mm).mean())), np.eye(3), np.zeros(3))
    panels = [(surface.transformed(scale), f"template, {surface.n_components} piece", None)]
    order = np.argsort(info.fit_residuals_mm)
    report = {"organ": arguments.organ, "pieces": surface.n_components, "closed": surface.is_closed, "cases": {}}
    for index in (order[0], order[len(order) // 2], order[-1]):
        case = info.cases[index]
        truth = true_surface(arguments.organ, case)
        rebuilt = laid_upon(reconstructed_surface(template, int(index)), truth, template)
        distance = MeshDistance(truth).sdf_mm(rebuilt.vertices_ras)
        back = np.abs(MeshDistance(rebuilt).sdf_mm(truth.vertices_ras))
        mean = 0.5 * (np.abs(distance).mean() + back.mean())
        report["cases"][case] = {"mean_mm": round(float(mean), 3), "pieces": rebuilt.n_components}
        centred = Similarity(1.0, np.eye(3), -rebuilt.vertices_ras.mean(0))
        panels.append((rebuilt.transformed(centred), f"{case}, {mean:.2f} mm", distance))
    report["fit_residual_mm"] = {
        "mean": round(float(np.mean(info.fit_residuals_mm)), 3),
        "max": round(float(np.max(info.fit_residuals_mm)), 3),
    }
    arguments.output.mkdir(parents=True, exist_ok=True)
    picture = arguments.output / f"template_{arguments.organ}.png"
    render_panels(panels, ("anterior", "superior"), picture, scalar_range_mm=(-3.0, 3.0), label="mm outside the label")
    (arguments.output / f"template_{arguments.organ}.json").write_text(json.dumps(report, indent=2))
    print(json.dumps(report))


if __name__ == "__main__":
    main()
