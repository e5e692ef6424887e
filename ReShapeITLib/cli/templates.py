"""``reshapeit templates``: list, describe, draw and fetch the organ templates."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from pathlib import Path

from ..core.errors import BadInputError
from ..templates.store import FOLDERS_VARIABLE
from .common import add_command, add_progress_option


def add_arguments(parser) -> None:
    """Fill the subcommand's parser."""
    parser.set_defaults(run=run_list)
    parser.set_defaults(json=False, index=None)
    actions = parser.add_subparsers(dest="action", metavar="ACTION")
    listing = add_command(actions, "list", "list all templates (the default)")
    show = add_command(actions, "show", "describe one template")
    render = add_command(actions, "render", "draw the template's surface")
    fetch = add_command(actions, "fetch", "download a template from an index that you name")
    for action, run in ((listing, run_list), (show, run_show), (render, run_render), (fetch, run_fetch)):
        action.set_defaults(run=run)
    for action in (show, render, fetch):
        action.add_argument("template", metavar="NAME|FILE", help="template name or file")
    for action in (listing, show):
        action.add_argument("--json", action="store_true", help="print JSON")
    render.add_argument("--output", required=True, metavar="PNG", help="picture to write")
    listing.add_argument("--index", metavar="URL", help="list what this index offers instead (HTTPS)")
    fetch.add_argument("--index", metavar="URL", required=True, help="HTTPS address of the index; there is no default")
    fetch.add_argument("--folder", metavar="FOLDER", help=f"for the file (default: the first of ${FOLDERS_VARIABLE})")
    add_progress_option(fetch)


def run_list(arguments) -> None:
    """One line per template: name, cases, licence, file; damaged files are named as such."""
    if arguments.index:
        _list_index(arguments)
        return
    from ..templates.store import available_templates

    described = {name: _description(path) for name, path in available_templates().items()}
    if arguments.json:
        print(json.dumps(described, indent=2))
    elif not described:
        print(f"No templates; put template files into a folder named by ${FOLDERS_VARIABLE}.")
    else:
        print("\n".join(_listed(name, entry) for name, entry in described.items()))


def run_show(arguments) -> None:
    """Everything the file says about itself; its checksum is verified."""
    from ..templates.store import find_template
    from ..templates.template import OrganTemplate

    path = find_template(arguments.template)
    OrganTemplate.load(path)
    entry = _description(path)
    if arguments.json:
        print(json.dumps(entry, indent=2))
        return
    mark = "  NON-COMMERCIAL USE ONLY" if entry["non_commercial"] else ""
    rows = {
        "organ": f"{entry['organ']} (SNOMED CT {entry['snomed_code'] or 'unknown'})",
        "file": f"{path} ({path.stat().st_size / 1e6:.1f} MB)",
        "SHA-256": entry["sha256"],
        "licence": entry["licence"] + mark,
        "source": entry["source"],
        "cases": len(entry["cases"]),
        "volume, mL": _spread(entry["volumes_ml"]),
        "size, mm per unit": _spread(entry["scales_mm"]),
        "alignment residual, mm": _spread(entry["alignment_residuals_mm"]),
        "fit residual, mm": _spread(entry["fit_residuals_mm"]),
        "frame": entry["frame"],
        "network": ", ".join(f"{key} {value}" for key, value in entry["field"].items()),
    }
    print("\n".join(f"{name:<24}{value}" for name, value in rows.items()))


def run_render(arguments) -> None:
    """Draw the template's surface, at the average size of its training cases."""
    import numpy as np

    from ..core.geometry import Similarity
    from ..pictures.rendering import render_panels
    from ..templates.store import find_template
    from ..templates.template import OrganTemplate
    from ..training.export import template_surface

    if not arguments.output.lower().endswith(".png"):
        raise BadInputError(
            "{output} is no PNG file name", "give one that ends in .png", "render.output", output=arguments.output
        )
    template = OrganTemplate.load(find_template(arguments.template))
    size = Similarity(float(np.mean(template.info.scales_mm)), np.eye(3), np.zeros(3))
    surface = template_surface(template.model).transformed(size)
    views = ("anterior", "right", "superior")
    render_panels([(surface, template.info.organ, None)], views, Path(arguments.output))
    print(f"wrote {arguments.output}")


def run_fetch(arguments) -> None:
    """Download and verify one template; only ever from the host that the user named."""
    from ..templates.index import fetch_template, read_index
    from ..templates.store import template_folders

    if not arguments.folder and not os.environ.get(FOLDERS_VARIABLE):
        raise BadInputError(
            "There is no folder named for the template",
            "name one with --folder or {variable}",
            "fetch.no_folder",
            variable=f"${FOLDERS_VARIABLE}",
        )
    folder = Path(arguments.folder) if arguments.folder else template_folders()[0]
    offered = read_index(arguments.index)
    if arguments.template not in offered:
        raise BadInputError(
            "The index has no template '{template}'",
            "choose one of {choices}",
            "fetch.unknown",
            template=arguments.template,
            choices=", ".join(offered),
        )
    entry = offered[arguments.template]

    def told(share: float) -> None:
        arguments.progress.check_cancelled()
        arguments.progress.stage("download", share)

    target = fetch_template(entry, folder, told=told)
    if arguments.progress.mode != "json":
        print(f"wrote {target} ({entry.n_bytes / 1e6:.1f} MB, {entry.licence or 'licence: see templates show'})")


def _list_index(arguments) -> None:
    from ..templates.index import read_index

    offered = read_index(arguments.index)
    if arguments.json:
        print(json.dumps({name: asdict(entry) for name, entry in offered.items()}, indent=2))
    else:
        print("\n".join(f"{e.name:<26}{e.n_bytes / 1e6:>7.1f} MB  {e.licence}" for e in offered.values()))


def _description(path: Path) -> dict:
    """What a file says about itself, as plain values; of a damaged one, the error."""
    from ..templates.template import read_info

    try:
        info, options, sha256 = read_info(path)
    except BadInputError as error:
        return {"file": str(path), "error": str(error)}
    known = {"file": str(path), "sha256": sha256, "non_commercial": info.non_commercial}
    return {**asdict(info), "field": options.as_dict(), **known}


def _listed(name: str, entry: dict) -> str:
    if "error" in entry:
        return f"{name:<26}damaged: {entry['error']}"
    mark = "  [non-commercial use only]" if entry["non_commercial"] else ""
    return f"{name:<26}{len(entry['cases']):>3} cases  {entry['licence']}{mark}  {entry['file']}"


def _spread(values: list[float]) -> str:
    return f"{sum(values) / len(values):.2f} on average, {min(values):.2f} to {max(values):.2f}"
