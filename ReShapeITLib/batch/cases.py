"""The cases of a batch: from a folder of label files and patients' folders, or from a table that names them."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..core.errors import BadInputError
from ..io.atomic import file_suffix
from ..io.volumes import LABEL_SUFFIXES
from ..job.options import RefineSettings

COLUMNS = ("input", "name", "template", "label", "image", "include", "exclude")
MASKS = "segmentations"  # TotalSegmentator's folder of masks within a patient's
_IMAGE = "ct.nii.gz"  # beside that folder


@dataclass(frozen=True)
class BatchOptions(RefineSettings):
    """What all cases share, with the options of :class:`~ReShapeITLib.job.options.RefineSettings`.

    Args:
        template: as the command line takes it; "" where the table names one for each case.
        label: likewise.
        image: file of the CT that was segmented, of one case; "" for none.
        include, exclude: files of points of one case that are organ, and that are not; "" for none.
        surface: extension of the mesh files to write; "" for none.
        reports: also write a report of each case; it takes some seconds more where nothing is doubted.
    """

    template: str = ""
    label: str = ""
    image: str = ""
    include: str = ""
    exclude: str = ""
    surface: str = ""
    reports: bool = False


@dataclass(frozen=True)
class BatchCase:
    """One file, or folder of masks, to refine, and where its results go.

    Args:
        name: of the case, unlike any other's.
        input: label file, or folder with one mask an organ.
        folder: of the results of all cases.
        options: with the case's own template and label.
    """

    name: str
    input: Path
    folder: Path
    options: BatchOptions = field(default_factory=BatchOptions)

    @property
    def output(self) -> Path:
        """Label file on the input's grid, in the input's format; of a folder of masks a folder as deep as the input."""
        if self.input.is_dir():
            return self.folder / self.name / ("" if self.input.name == self.name else self.input.name)
        return self.folder / f"{self.name}{file_suffix(self.input)}"

    @property
    def report(self) -> Path | None:
        """What changed, where that is wanted."""
        return self.folder / "reports" / f"{self.name}.json" if self.options.reports else None

    @property
    def surface(self) -> Path | None:
        """Mesh file, where one is wanted."""
        return self.folder / "surfaces" / f"{self.name}{self.options.surface}" if self.options.surface else None

    def as_dict(self) -> dict:
        """Plain values, to be sent to a worker."""
        paths = {"input": str(self.input), "folder": str(self.folder)}
        return {"name": self.name, **paths, "options": asdict(self.options)}

    @classmethod
    def from_dict(cls, values: dict) -> BatchCase:
        """What :meth:`as_dict` gave."""
        return cls(values["name"], Path(values["input"]), Path(values["folder"]), BatchOptions(**values["options"]))


def read_cases(source: str | Path, folder: str | Path, options: BatchOptions) -> list[BatchCase]:
    """The cases of a folder or of a CSV table, in the order of their names or lines.

    Args:
        source: folder or table. The cases of a folder are the label files in it and the folders ``segmentations`` in
            the folders in it. A table has the column ``input`` (paths from the table's folder) and may have ``name``,
            ``template``, ``label``, ``image``, ``include``, ``exclude``.
            A folder ``segmentations`` has the image ``ct.nii.gz`` beside it.
        folder: of the results.
        options: of all cases; template and label of a table's line go first.

    Raises:
        BadInputError: nothing to do, a name twice, a column or a template missing, or results beside the input.
    """
    source, folder = Path(source).absolute(), Path(folder).absolute()
    if source.is_dir():
        paths = [path / MASKS if _has_masks(path) else path for path in sorted(source.iterdir())]
        lines = [{"input": str(path)} for path in paths if path.name == MASKS or _is_label_file(path)]
        if not lines:
            raise BadInputError(
                "{input} holds no label files ({suffixes}) and no patients' folders with a folder '{masks}' in them",
                "check the folder",
                "batch.no_cases",
                input=source,
                suffixes=" ".join(LABEL_SUFFIXES),
                masks=MASKS,
            )
    elif source.is_file():
        lines = _lines(source)
    else:
        raise BadInputError("There is no folder or table {input}", "check the path", "batch.missing", input=source)
    cases = [_case(line, source, folder, options) for line in lines]
    _check(cases, source)
    return cases


def _has_masks(path: Path) -> bool:
    return not path.name.startswith(".") and (path / MASKS).is_dir()


def _is_label_file(path: Path) -> bool:
    return path.is_file() and not path.name.startswith(".") and file_suffix(path) in LABEL_SUFFIXES


def _lines(table: Path) -> list[dict[str, str]]:
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            lines = [{key: (value or "").strip() for key, value in line.items() if key} for line in reader]
            columns = set(reader.fieldnames or ())
    except (UnicodeDecodeError, csv.Error) as error:
        raise BadInputError(
            "{input} is not a CSV table in UTF-8 ({reason})",
            "export it again",
            "table.damaged",
            input=table,
            reason=error,
        ) from error
    if "input" not in columns or not columns <= set(COLUMNS):
        raise BadInputError(
            "The table {input} must have the column 'input' and may have {columns}, not {unknown}",
            "correct the columns' names",
            "table.columns",
            input=table,
            columns=", ".join(COLUMNS[1:]),
            unknown=", ".join(sorted(columns - set(COLUMNS))) or "others",
        )
    if not lines:
        raise BadInputError("The table {input} has no lines", "give one for each case", "table.no_lines", input=table)
    return lines


def _case(line: dict[str, str], source: Path, folder: Path, options: BatchOptions) -> BatchCase:
    if not line["input"]:
        raise BadInputError(
            "A line of {input} names no input", "fill the column or delete the line", "table.no_input", input=source
        )
    file = (source.parent / line["input"]).absolute()
    name = line.get("name") or _name_of(file)
    if Path(name).name != name or name.startswith("."):
        raise BadInputError(
            "'{name}' is no name for a case", "use one without slashes and leading dots", "batch.case_name", name=name
        )
    own = {key: line[key] for key in ("template", "label") if line.get(key)}
    beside = file.parent / _IMAGE
    image = source.parent / line["image"] if line.get("image") else beside if file.name == MASKS else None
    if image and (line.get("image") or image.is_file()):
        own["image"] = str(image.absolute())
    own |= {key: str((source.parent / line[key]).absolute()) for key in ("include", "exclude") if line.get(key)}
    chosen = BatchOptions(**{**asdict(options), **own})
    if not chosen.template:
        raise BadInputError(
            "No template is named for the case '{name}'",
            "use --template or the table's column 'template'",
            "batch.no_template",
            name=name,
        )
    return BatchCase(name, file, folder, chosen)


def _name_of(file: Path) -> str:
    if file.is_dir():
        return file.parent.name if file.name == MASKS else file.name
    return file.name[: len(file.name) - len(file_suffix(file))]


def _check(cases: Iterable[BatchCase], source: Path) -> None:
    seen: set[str] = set()
    for case in cases:
        # Some file systems do not tell capital letters from small ones.
        if case.name.lower() in seen:
            raise BadInputError(
                "Two cases of {input} are called '{name}'",
                "give them names of their own",
                "batch.same_name",
                input=source,
                name=case.name,
            )
        seen.add(case.name.lower())
        if case.folder.resolve() == case.input.parent.resolve() or case.output.resolve() == case.input.resolve():
            raise BadInputError(
                "The results would lie among the inputs in {path}",
                "choose another --out",
                "batch.among_inputs",
                path=case.folder,
            )
