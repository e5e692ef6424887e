"""Render a template beside three of its training cases rebuilt from their codes, with exact distances to the labels.

    python -m Testing.Evaluation.template_gallery --organ liver --prepared runs/prepared/liver --output FOLDER

Needs the development data beside the repository (``../shared/data``) and the folder that ``reshapeit prepare`` made
(it knows each case's frame). The cases are those with the least, the median and the largest residual.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from ReShapeITLib.distance import MeshDistance
from ReShapeITLib.extraction import extract_zero_level
from ReShapeITLib.geometry import Similarity
from ReShapeITLib.mesh import TriangleSurface
from ReShapeITLib.rendering import render_panels
from ReShapeITLib.sampling import ShapeSamples
from ReShapeITLib.surface import surface_from_mask
from ReShapeITLib.template import OrganTemplate
from ReShapeITLib.training.export import template_surface
from ReShapeITLib.training.prepare import SUFFIX
from ReShapeITLib.volume_io import read_labels

from .real_predictions import DATA

LOBES = {
    "lung_upper_lobe_right": 4, "lung_middle_lobe_right": 5, "lung_lower_lobe_right": 6,
    "lung_upper_lobe_left": 7, "lung_lower_lobe_left": 8,
}  # fmt: skip


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


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--organ", required=True)
    parser.add_argument("--template")
    parser.add_argument("--prepared", type=Path, required=True)
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
        samples = ShapeSamples.load(arguments.prepared / f"{case}{SUFFIX}")
        rebuilt = reconstructed_surface(template, int(index)).transformed(samples.ras_to_unit.inverse())
        truth = true_surface(arguments.organ, case)
        distance = MeshDistance(truth).signed(rebuilt.vertices_ras)
        back = np.abs(MeshDistance(rebuilt).signed(truth.vertices_ras))
        mean = 0.5 * (np.abs(distance).mean() + back.mean())
        report["cases"][case] = {"mean_mm": round(float(mean), 3), "pieces": rebuilt.n_components}
        centred = Similarity(1.0, np.eye(3), -rebuilt.vertices_ras.mean(0))
        panels.append((rebuilt.transformed(centred), f"{case}, {mean:.2f} mm", distance))
    report["fit_residual_mm"] = {
        "mean": round(float(np.mean(info.fit_residuals_mm)), 3), "max": round(float(np.max(info.fit_residuals_mm)), 3),
    }  # fmt: skip
    arguments.output.mkdir(parents=True, exist_ok=True)
    picture = arguments.output / f"template_{arguments.organ}.png"
    render_panels(panels, ("anterior", "superior"), picture, scalar_range_mm=(-3.0, 3.0), label="mm outside the label")
    (arguments.output / f"template_{arguments.organ}.json").write_text(json.dumps(report, indent=2))
    print(json.dumps(report))


if __name__ == "__main__":
    main()
