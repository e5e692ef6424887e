#!/usr/bin/env python-real
"""ReShapeIT as a command-line module of Slicer: label map in, refined label map, surface and report out.

ReShapeITRefine.xml beside this file describes the arguments; the work is ReShapeITLib's refine job. Slicer starts this
file with its own Python, and so can a shell: ``PythonSlicer ReShapeITRefine.py ...``. Progress goes to stdout as
Slicer's progress tags. Exit codes are those of the ``reshapeit`` command.
"""

import argparse
import os
import re
import sys
import tempfile
import threading
import uuid
from pathlib import Path

NON_COMMERCIAL = " (non-commercial)"
# Slicer names a temporary file after the node that is in it.
SEGMENTATION_NODE = "vtkMRMLSegmentationNode"
ROOM_MM = 30.0
# What Slicer may ask of any command-line module; this one has no use for it.
SLICERS_OWN = ("--processinformationaddress", "--returnparameterfile", "--echo")
MISSING_PACKAGE = (
    "The Python package {} is missing or cannot be loaded: open the ReShapeIT module and press Install there, or see "
    "its documentation for computers without internet."
)
MISSING_LIBRARY = "ReShapeITLib is not beside this file: install the ReShapeIT extension again."


def main(argv: list[str] | None = None) -> int:
    """Run with ``argv`` (default: the process's arguments); returns the exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if argv == ["--xml"]:
        sys.stdout.buffer.write(Path(__file__).with_suffix(".xml").read_bytes())
        return 0
    makeStreamsTakeAllText()
    addLibraryToPath()
    try:
        from ReShapeITLib.core.errors import MISSING_PACKAGE as MISSING
        from ReShapeITLib.job.explanation import explained

        arguments = parser().parse_args(argv)
    except ImportError as error:
        package = (error.name or "torch").partition(".")[0]
        return told(MISSING_LIBRARY if package == "ReShapeITLib" else MISSING_PACKAGE.format(package), 1)
    try:
        refine(arguments)
    except BrokenPipeError:
        # Whoever read our output is gone; stdout must not fail again when Python closes it.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001 - every error ends as one sentence
        error = explained(error)
        message = MISSING_PACKAGE.format(error.fields["package"]) if error.code == MISSING else str(error)
        return told(message, error.exit_code)
    return 0


def told(message: str, code: int) -> int:
    """Say why the run ends, on stderr and beside Slicer's progress bar; returns ``code``."""
    message = " ".join(message.split())
    tag("filter-comment", message)
    print(f"ReShapeIT: {message}", file=sys.stderr, flush=True)
    return code


def makeStreamsTakeAllText() -> None:
    """Let names of files and segments that a console cannot show be written all the same.

    Slicer reads the streams as UTF-8 on every system; what PYTHONIOENCODING asks for, and a terminal's own, stay.
    """
    for stream in (sys.stdout, sys.stderr):
        own = stream.isatty() or "PYTHONIOENCODING" in os.environ
        stream.reconfigure(encoding=None if own else "utf-8", errors="backslashreplace")


class Parser(argparse.ArgumentParser):
    """Says in one sentence what is wrong."""

    def error(self, message: str) -> None:
        """End with exit code 2."""
        sys.exit(told(f"{message[:1].upper()}{message[1:]}; --help lists the arguments.", 2))


def parser() -> argparse.ArgumentParser:
    """Arguments as ReShapeITRefine.xml describes them; flags may also be written as ``reshapeit refine`` has them."""
    from ReShapeITLib.job.options import MODULE, options_of

    parser = Parser(prog="ReShapeITRefine", description="Repair organs of a label map.", allow_abbrev=False)
    parser.add_argument("inputVolume", help="label map or segmentation to refine")
    parser.add_argument("outputVolume", help="label map or segmentation to write")
    parser.add_argument("--image", help="CT that was segmented, of any grid; without it the shape decides alone")
    parser.add_argument("--surface", help="model file (.vtp) to write")
    parser.add_argument("--report", help="JSON file to write")
    parser.add_argument("--template", default="pancreas", help="organ of the label")
    parser.add_argument("--label", type=int, default=0, help="label to refine; 0 for the only one")
    parser.add_argument(
        "--templates", help="LABEL=TEMPLATE,LABEL=TEMPLATE,... for several organs; LABEL: number or segment name"
    )
    for option in options_of(MODULE):
        flags = dict.fromkeys((f"--{option.slicer_name}", option.flag))
        parser.add_argument(*flags, **option.argument())
    for flag in SLICERS_OWN:
        takes = {"action": "store_true"} if flag == "--echo" else {}
        parser.add_argument(flag, dest=argparse.SUPPRESS, help=argparse.SUPPRESS, **takes)
    return parser


def addLibraryToPath() -> None:
    """Make the ReShapeITLib that belongs to this file importable.

    It lies beside the scripted modules of the extension, or at the root of a checkout; another one that Python knows is
    taken only where it does not.
    """
    here = Path(__file__).resolve()
    for folder in (*(parent / "qt-scripted-modules" for parent in here.parents[1:3]), *here.parents[2:3]):
        if (folder / "ReShapeITLib").is_dir():
            sys.path.insert(0, str(folder))
            return


def refine(arguments: argparse.Namespace) -> None:
    """Run the job that the arguments describe.

    Raises:
        ReShapeITError: an input is wrong, or the refinement was refused or cancelled.
    """
    from ReShapeITLib.core.progress import cancel_on_signals
    from ReShapeITLib.io.surfaces import write_surface
    from ReShapeITLib.job.job import RefineJob, run_refine_job
    from ReShapeITLib.job.labels import parse_templates
    from ReShapeITLib.job.options import option_values

    output, written = Path(arguments.outputVolume), writtenFile(arguments.outputVolume)
    # The job makes surfaces only where it writes them or a report; several go into one file here. The name is not taken
    # before the end: Slicer cancels by killing, and nothing may stay behind.
    unwanted = Path(tempfile.gettempdir(), f"reshapeit-{uuid.uuid4().hex}.json")
    report = Path(arguments.report) if arguments.report else unwanted if arguments.surface else None
    template, label = arguments.template.removesuffix(NON_COMMERCIAL), str(arguments.label or "") or None
    job = RefineJob(
        input=Path(arguments.inputVolume),
        templates=parse_templates(*((arguments.templates, None) if arguments.templates else (template, label))),
        output=written,
        report=report,
        image=Path(arguments.image) if arguments.image else None,
        strict=True,
        **option_values(arguments),
    )
    progress = taggedProgress()
    giveRoom(job.input)
    try:
        with cancel_on_signals(progress):
            result = run_refine_job(job, progress, notice=lambda text: print(f"Note: {text}", flush=True))
        if arguments.surface:
            write_surface(joined(result.surfaces), arguments.surface)
        if written != output:
            os.replace(written, output)
    finally:
        unwanted.unlink(missing_ok=True)
    progress.end()
    for organ in result.report.organs:
        print(organ.summary())


def writtenFile(output: str) -> Path:
    """The file to write for ``outputVolume``.

    Slicer asks for ``.nrrd`` even where the output node is a segmentation. Only ``.seg.nrrd`` keeps names, colours and
    overlaps of segments; the segmentation node reads it under either name.
    """
    path = Path(output)
    isNode = SEGMENTATION_NODE in path.name and path.suffix == ".nrrd" and not path.name.endswith(".seg.nrrd")
    return path.with_suffix(".seg.nrrd") if isNode else path


def giveRoom(path: Path) -> None:
    """Widen the temporary file of a segmentation that ends where its segments end.

    Slicer writes a segmentation without a reference geometry no further. An organ could not grow there, and would count
    as cut off by the scan.
    """
    import numpy as np

    from ReShapeITLib.core.labels import LabelVolume
    from ReShapeITLib.io.volumes import read_labels, write_labels

    if SEGMENTATION_NODE not in path.name or not path.is_file():
        return
    volume = read_labels(path)
    if re.search(r"Reference image geometry\|[^|]", volume.header.get("Segmentation_ConversionParameters", "")):
        return
    rim_ijk = np.ceil(ROOM_MM / volume.geometry.spacing_mm).astype(int)
    geometry = volume.geometry.cropped(-rim_ijk, volume.geometry.size_ijk + 2 * rim_ijk)
    layers = tuple(np.pad(layer, [(rim, rim) for rim in rim_ijk[::-1]]) for layer in volume.layers)
    wide = path.with_suffix(".seg.nrrd")
    write_labels(LabelVolume(layers, geometry, volume.segments, volume.header, volume.source), wide)
    os.replace(wide, path)


def tag(name: str, content: str) -> None:
    """Write one of Slicer's progress tags; Slicer does not unescape what is in it."""
    inner = content if name in ("filter-start", "filter-end") else content.replace("<", "(").replace(">", ")")
    # In one piece: organs that are refined at once report from threads of their own.
    sys.stdout.write(f"<{name}>{inner}</{name}>\n")
    sys.stdout.flush()


def taggedProgress():
    """A Progress that reports to Slicer."""
    from ReShapeITLib.core.progress import Progress

    class TaggedProgress(Progress):
        """Writes Slicer's progress tags to stdout."""

        def __init__(self):
            super().__init__("none")
            self._name, self._lock = None, threading.Lock()

        def stage(self, name: str, fraction: float, message: str = "") -> None:
            with self._lock:
                super().stage(name, fraction, message)
                if self._name is None:
                    tag("filter-start", "<filter-name>ReShapeIT</filter-name><filter-comment>read</filter-comment>")
                if name != self._name:
                    tag("filter-comment", f"{name} {message}".strip())
                    self._name = name
                tag("filter-progress", f"{self.fraction:.4f}")

        def end(self) -> None:
            tag("filter-progress", "1.0000")
            tag("filter-end", "<filter-name>ReShapeIT</filter-name>")

    return TaggedProgress()


def joined(surfaces: dict):
    """One surface of all organs with their label as point data."""
    import numpy as np

    from ReShapeITLib.core.mesh import TriangleSurface

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
