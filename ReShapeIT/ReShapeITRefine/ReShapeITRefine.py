#!/usr/bin/env python-real
"""ReShapeIT as a command-line module of Slicer: label map in, refined label map, surface and report out.

ReShapeITRefine.xml beside this file describes the arguments; the work is ReShapeITLib's refine job. Progress goes to
stdout as Slicer's progress tags. Exit codes are those of the ``reshapeit`` command.
"""

import argparse
import importlib.util
import sys
import tempfile
from pathlib import Path
from xml.sax.saxutils import escape

NON_COMMERCIAL = " (non-commercial)"
MISSING_PACKAGE = (
    "The Python package {} is missing: open the ReShapeIT module and press Install there, or see its documentation "
    "for computers without internet."
)


def main(argv: list[str] | None = None) -> int:
    """Run with ``argv`` (default: the process's arguments); returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv == ["--xml"]:
        print(Path(__file__).with_suffix(".xml").read_text(encoding="utf-8"))
        return 0
    arguments = parser().parse_args(argv)
    addLibraryToPath()
    try:
        from ReShapeITLib.cli.main import explained

        try:
            refine(arguments)
        except ModuleNotFoundError:
            raise
        except (Exception, KeyboardInterrupt) as error:
            told = explained(error)
            print(f"ReShapeIT: {told}", file=sys.stderr)
            return told.exit_code
    except ModuleNotFoundError as error:
        print(f"ReShapeIT: {MISSING_PACKAGE.format(error.name)}", file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """Arguments as ReShapeITRefine.xml describes them."""
    parser = argparse.ArgumentParser(prog="ReShapeITRefine", description="Repair organs of a label map.")
    parser.add_argument("inputVolume", help="label map or segmentation to refine")
    parser.add_argument("outputVolume", help="label map to write")
    parser.add_argument("--surface", help="model file (.vtp) to write")
    parser.add_argument("--report", help="JSON file to write")
    parser.add_argument("--template", default="pancreas", help="organ of the label")
    parser.add_argument("--label", type=int, default=0, help="label to refine; 0 for the only one")
    parser.add_argument("--templates", help="LABEL=TEMPLATE,LABEL=TEMPLATE,... for several organs")
    parser.add_argument("--preset", default="standard", choices=("draft", "standard", "fine"))
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda", "mps"))
    parser.add_argument("--keepUnion", action="store_true", help="move only the borders between touching organs")
    parser.add_argument("--sparse", action="store_true", help="the organ was drawn on a few slices only")
    parser.add_argument("--force", action="store_true", help="refine although the input does not look like the organ")
    parser.add_argument("--seed", type=int, default=0, help="of every random draw")
    return parser


def addLibraryToPath() -> None:
    """Make ReShapeITLib importable: beside the scripted modules of the extension, or at the root of a checkout."""
    if importlib.util.find_spec("ReShapeITLib"):
        return
    here = Path(__file__).resolve()
    for folder in (*(parent / "qt-scripted-modules" for parent in here.parents[1:3]), here.parents[2]):
        if (folder / "ReShapeITLib").is_dir():
            sys.path.insert(0, str(folder))
            return


def refine(arguments: argparse.Namespace) -> None:
    """Run the job that the arguments describe.

    Raises:
        ReShapeITError: an input is wrong, or the refinement was refused or cancelled.
    """
    from ReShapeITLib.cli.refine import parse_templates
    from ReShapeITLib.progress import cancel_on_signals
    from ReShapeITLib.refine_job import RefineJob, run_refine_job
    from ReShapeITLib.surface_io import write_surface

    template = arguments.template.removesuffix(NON_COMMERCIAL)
    label = str(arguments.label) if arguments.label else None
    progress = taggedProgress()
    with tempfile.TemporaryDirectory(prefix="reshapeit-") as scratch, cancel_on_signals(progress):
        job = RefineJob(
            input=Path(arguments.inputVolume),
            templates=parse_templates(arguments.templates, None)
            if arguments.templates
            else parse_templates(template, label),
            output=Path(arguments.outputVolume),
            # The job makes surfaces only where a report or a surface is wanted; several go into one file here.
            report=Path(arguments.report or Path(scratch, "report.json")),
            preset=arguments.preset,
            device=arguments.device,
            seed=arguments.seed,
            force=arguments.force,
            sparse=arguments.sparse,
            keep_union=arguments.keepUnion,
        )
        result = run_refine_job(job, progress, notice=lambda text: print(f"Note: {text}", flush=True))
        if arguments.surface:
            write_surface(joined(result.surfaces), arguments.surface)
    progress.end()
    for organ in result.report.organs:
        print(organ.summary())


def taggedProgress():
    """A Progress that reports to Slicer."""
    from ReShapeITLib.progress import Progress

    class TaggedProgress(Progress):
        """Writes Slicer's progress tags to stdout."""

        def __init__(self):
            super().__init__("none")
            self._name = None

        def stage(self, name: str, fraction: float, message: str = "") -> None:
            super().stage(name, fraction, message)
            if self._name is None:
                tag("filter-start", "<filter-name>ReShapeIT</filter-name><filter-comment>read</filter-comment>")
            if name != self._name:
                tag("filter-comment", escape(f"{name} {message}".strip()))
                self._name = name
            tag("filter-progress", f"{self.fraction:.4f}")

        def end(self) -> None:
            tag("filter-progress", "1.0000")
            tag("filter-end", "<filter-name>ReShapeIT</filter-name>")

    def tag(name: str, content: str) -> None:
        print(f"<{name}>{content}</{name}>", flush=True)

    return TaggedProgress()


def joined(surfaces: dict):
    """One surface of all organs with their label as point data."""
    import numpy as np

    from ReShapeITLib.mesh import TriangleSurface

    parts = list(surfaces.values())
    starts = np.cumsum([0, *(len(part.vertices_ras) for part in parts[:-1])])
    names = set.intersection(*(set(part.point_data) for part in parts))
    data = {name: np.concatenate([part.point_data[name] for part in parts]) for name in sorted(names)}
    labels = [label if isinstance(label, int) else index + 1 for index, label in enumerate(surfaces)]
    data["label"] = np.repeat(np.array(labels, dtype=np.int32), [len(part.vertices_ras) for part in parts])
    return TriangleSurface(
        np.concatenate([part.vertices_ras for part in parts]),
        np.concatenate([part.faces + start for part, start in zip(parts, starts, strict=True)]),
        np.concatenate([part.normals for part in parts]),
        data,
    )


if __name__ == "__main__":
    sys.exit(main())
