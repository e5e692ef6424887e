"""ReShapeIT: repair of organ segmentations with implicit shape templates (no Slicer, no Qt in here).

The public names; each is imported when it is used:

==================== ==================================================================================================
refine               one organ, from a mask to its refined shape
RefinedShape         what ``refine`` returns: voxels on any grid, surface, signed distance
RefineOptions        all numbers of a refinement, for who wants more than a preset
REFINE_PRESETS       RefineOptions of "draft", "standard" and "fine"
read_labels          a label map or segmentation from a file
write_labels         a label map or segmentation to a file
LabelVolume          labels on a voxel grid: ``mask(label)`` and ``geometry``
ImageGeometry        voxel grid: ijk to RAS mm
read_surface         a surface from a file
write_surface        a surface to a file
TriangleSurface      vertices in RAS mm, faces, data of each vertex
OrganTemplate        learned shape of one organ
available_templates  file of each template by name
RestorationModel     network that tells damage from organ
RefineJob            what ``run_refine_job`` is asked to do, from file to file
run_refine_job       several organs of a file, with report: what ``reshapeit refine`` runs
with_suggestions     the organ with another choice of its suggestions, at once
with_points          the organ with points inside and outside of it, at once
RefineReport         what a job changed and how certain it is
Progress             stages of a run and its cancel request
ReShapeITError       base of all errors that are told in one sentence
BadInputError        the input or the usage is wrong
ImplausibleError     the input does not look like the organ
CancelledError       the run was cancelled
==================== ==================================================================================================
"""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .core.errors import BadInputError, CancelledError, ImplausibleError, ReShapeITError
    from .core.geometry import ImageGeometry
    from .core.labels import LabelVolume
    from .core.mesh import TriangleSurface
    from .core.progress import Progress
    from .io.surfaces import read_surface, write_surface
    from .io.volumes import read_labels, write_labels
    from .job.face import refine
    from .job.job import run_refine_job
    from .job.report import RefineReport
    from .job.request import RefineJob
    from .refinement.clicks.points import with_points
    from .refinement.options import REFINE_PRESETS, RefineOptions
    from .refinement.refine import with_suggestions
    from .refinement.refined import RefinedShape
    from .restoration.model import RestorationModel
    from .templates.store import available_templates
    from .templates.template import OrganTemplate

__version__ = "0.1.0"
__all__ = [
    "REFINE_PRESETS",
    "BadInputError",
    "CancelledError",
    "ImageGeometry",
    "ImplausibleError",
    "LabelVolume",
    "OrganTemplate",
    "Progress",
    "ReShapeITError",
    "RefineJob",
    "RefineOptions",
    "RefineReport",
    "RefinedShape",
    "RestorationModel",
    "TriangleSurface",
    "available_templates",
    "read_labels",
    "read_surface",
    "refine",
    "run_refine_job",
    "with_points",
    "with_suggestions",
    "write_labels",
    "write_surface",
]
_FILES = {
    "core.errors": ("BadInputError", "CancelledError", "ImplausibleError", "ReShapeITError"),
    "core.geometry": ("ImageGeometry",),
    "core.labels": ("LabelVolume",),
    "core.mesh": ("TriangleSurface",),
    "core.progress": ("Progress",),
    "io.surfaces": ("read_surface", "write_surface"),
    "io.volumes": ("read_labels", "write_labels"),
    "job.face": ("refine",),
    "job.job": ("run_refine_job",),
    "job.report": ("RefineReport",),
    "job.request": ("RefineJob",),
    "refinement.clicks.points": ("with_points",),
    "refinement.options": ("REFINE_PRESETS", "RefineOptions"),
    "refinement.refine": ("with_suggestions",),
    "refinement.refined": ("RefinedShape",),
    "restoration.model": ("RestorationModel",),
    "templates.store": ("available_templates",),
    "templates.template": ("OrganTemplate",),
}
_FILE_OF = {name: file for file, names in _FILES.items() for name in names}


def __getattr__(name: str) -> object:
    """A public name, imported when it is first used."""
    if name not in _FILE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f".{_FILE_OF[name]}", __name__), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
