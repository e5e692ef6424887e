"""What an evaluation is told, from a YAML file: cases, families of input, methods."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

from ReShapeITLib.core.errors import BadInputError
from ReShapeITLib.io.settings import yaml_mapping
from ReShapeITLib.job.options import PRESETS
from ReShapeITLib.restoration.store import chosen_networks
from ReShapeITLib.templates.store import SUFFIX
from ReShapeITLib.training.config import override
from ReShapeITLib.training.prepare import case_name

from .families import Family, family_from_dict, file_word, label_file, require_distinct, texts

INPUT = "input"  # the method that leaves everything as it is


@dataclass(frozen=True)
class MethodEntry:
    """One method.

    Args:
        label: its name in the table.
        name: which method.
        options: of that method, plain values.
    """

    label: str
    name: str
    options: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Study:
    """An evaluation; relative paths in the file are taken from the file's folder.

    Args:
        organ: name of the organ, as templates are named.
        template: name, or file (``*.safetensors``); the organ's where "".
        restoration: file of the restoration network of the method ``reshapeit``; "auto" takes the template's, "none"
            none.
        label: label value of the organ in the truths; 0 takes every voxel that is not zero.
        label_modulo: label values are taken modulo this first; 0 leaves them.
        truths: label file of each case, see :func:`case_of`.
        training: label files, cut out the same way, that methods may learn from.
        same_patient: other names of cases, e.g. in another collection, by case.
        families: inputs.
        methods: beside the input itself; pictures show the first one.
        preset: of refinement, for methods that do not name their own.
        nsd_tolerance_mm: tolerance of the normalised surface Dice.
        seed: of damage and methods.
        calibrations: folder with ``PATIENT/calibration.json``, fitted without the patient; patients that are not there,
            and all of them where None, have the shipped one.
        training_cases_check: refuse cases that template, restoration network or methods were trained on.
    """

    organ: str = ""
    template: str = ""
    restoration: str = "auto"
    label: int = 0
    label_modulo: int = 0
    truths: tuple[Path, ...] = ()
    training: tuple[Path, ...] = ()
    same_patient: dict[str, str] = field(default_factory=dict)
    families: tuple[Family, ...] = ()
    methods: tuple[MethodEntry, ...] = ()
    preset: str = "standard"
    nsd_tolerance_mm: float = 2.0
    seed: int = 0
    calibrations: Path | None = None
    training_cases_check: bool = True

    @property
    def cases(self) -> dict[str, Path]:
        """Truth file of each case."""
        return {case_of(path): path for path in self.truths}

    def restorations(self, shape_sha256: str) -> dict[str, Path | None]:
        """File of the restoration network by its use, which is named as settings name it; None: there is none.

        A method that refines what is known on a few slices only may have another one, and what coarse voxels hide is
        asked of a third.
        """
        whole = chosen_networks(self.restoration, shape_sha256)
        files = {"restoration": whole.restoration, "detail of coarse voxels": whole.detail}
        if any(entry.options.get("sparse", False) for entry in self.methods):
            sparse = chosen_networks(self.restoration, shape_sha256, sparse=True)
            files["restoration of few slices"] = sparse.restoration
        return files

    def patient(self, case: str) -> str:
        """The patient of a case: cases of one patient are resampled together."""
        return self.same_patient.get(case, case)


def case_of(path: Path) -> str:
    """The case of a truth's file: the file's name without suffix, or its folder's where all are called "truth"."""
    name = case_name(path)
    return path.parent.name if name == "truth" else name


def read_study(path: str | Path) -> Study:
    """A study from a YAML file (``yaml.safe_load``: plain values only).

    ``base: OTHER.yaml`` takes from another study, which has no base itself, every key that the file does not give.

    Raises:
        BadInputError: the file cannot be read, or a key, value or named file is wrong.
    """
    where = f"The study {path}"
    values, folder = yaml_mapping(path, where), Path(path).resolve().parent
    base = values.pop("base", None)
    if base is None:
        return study_from_dict(values, folder, where)
    if not isinstance(base, str):
        raise BadInputError(f"{where}: 'base' must name another study's file, not {base!r}.")
    base_where = f"{where}, base {base}"
    base_values = yaml_mapping(folder / base, base_where)
    if "base" in base_values:
        raise BadInputError(f"{base_where} has a base itself; name that one, or write the keys out.")
    return study_from_dict(values, folder, where, study_from_dict(base_values, (folder / base).parent, base_where))


def study_from_dict(values: dict, folder: Path, where: str = "the study", base: Study | None = None) -> Study:
    """A study from plain values.

    Args:
        values: by key; what is not there is as in ``base``.
        folder: that relative paths start from.
        where: names the study in errors.
        base: another study; None where there is none.

    Raises:
        BadInputError: a key, value or named file is wrong.
    """
    readers = {
        "truths": lambda value: _label_files(value, folder, f"{where}, truths"),
        "training": lambda value: _label_files(value, folder, f"{where}, training"),
        "families": lambda value: tuple(
            family_from_dict(entry, folder, where) for entry in _filled_list(value, "families", where)
        ),
        "methods": lambda value: tuple(_method(entry, where) for entry in _filled_list(value, "methods", where)),
    }
    required = () if base else ("truths", "families", "methods")
    lists = {key: read(values.get(key)) for key, read in readers.items() if key in values or key in required}
    plain = {key: value for key, value in values.items() if key not in readers}
    study = replace(override(base or Study(), plain, where), **lists)
    if "template" in plain and study.template.endswith(SUFFIX):
        study = replace(study, template=str(folder / Path(study.template).expanduser()))
    if "restoration" in plain and study.restoration not in ("auto", "none"):
        study = replace(study, restoration=str(folder / study.restoration))
    if not study.organ:
        raise BadInputError(f"{where} must name the organ under 'organ'.")
    if not study.truths:
        raise BadInputError(f"{where} must name label files under 'truths'.")
    if study.preset not in PRESETS:
        raise BadInputError(f"{where}: preset '{study.preset}' is unknown; use one of {', '.join(PRESETS)}.")
    require_distinct([case_of(path) for path in study.truths], "case", where)
    require_distinct([file_word(family.name) for family in study.families], "family", where)
    require_distinct([INPUT, *(method.label for method in study.methods)], "method", where)
    return study


def _label_files(value, base: Path, where: str) -> tuple[Path, ...]:
    """Files from a list of paths, or from a folder and the names of its cases; all of them are there."""
    if isinstance(value, dict):
        if set(value) != {"folder", "cases"} or not isinstance(value["folder"], str):
            raise BadInputError(f"{where}: give a list of files, or 'folder' and 'cases'.")
        names = texts(value["cases"], f"{where}, cases")
        return tuple(label_file(base / value["folder"], name) for name in names)
    paths = tuple(base / text for text in texts(value, where))
    for path in paths:
        if not path.is_file():
            raise BadInputError(f"{where}: there is no file {path}; check the path.")
    return paths


def _filled_list(value, key: str, where: str) -> list:
    if not isinstance(value, list) or not value:
        raise BadInputError(f"{where}: '{key}' must be a list with at least one entry.")
    return value


def _method(entry, where: str) -> MethodEntry:
    entry = {"name": entry} if isinstance(entry, str) else entry
    if not isinstance(entry, dict) or not isinstance(entry.get("name"), str):
        raise BadInputError(f"{where}: a method must be a name, or hold a 'name' and its options, not {entry!r}.")
    options = {key: value for key, value in entry.items() if key not in ("name", "as")}
    label = entry.get("as", entry["name"])
    if not isinstance(label, str):
        raise BadInputError(f"{where}, method {entry['name']}: 'as' must be text, not {label!r}.")
    return MethodEntry(label, entry["name"], options)
