"""A patient's folder of masks: one file an organ, whose name is the organ's (``liver.nii.gz``)."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..core.errors import BadInputError
from ..core.labels import LabelVolume, Segment
from .atomic import FilePath, cannot_write, file_suffix, refused
from .volumes import LABEL_SUFFIXES, read_labels, write_labels

_MOST_MASKS = 254  # numbers of one layer of uint8, without that of the other masks
_TEMPORARY = ".tmp-"


@dataclass(frozen=True, eq=False)
class Mask:
    """One file of the folder.

    Args:
        volume: as it was read.
        label: number of its only label; None where it has no voxels.
    """

    volume: LabelVolume
    label: int | None

    @property
    def voxels(self) -> np.ndarray:
        """(K, J, I) bool."""
        return self.volume.layers[0] == self.label if self.label else np.zeros(self.volume.geometry.shape_kji, bool)


def mask_files(folder: FilePath) -> dict[str, Path]:
    """The label files of a folder by their names without extension, in the order of the names.

    Raises:
        BadInputError: there are none, two differ in their extension only, or the folder cannot be read.
    """
    folder = Path(folder)
    found: dict[str, Path] = {}
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise refused(error, folder) from error
    for path in paths:
        suffix = file_suffix(path)
        if suffix not in LABEL_SUFFIXES or path.name.startswith(".") or not path.is_file():
            continue
        name = path.name[: len(path.name) - len(suffix)]
        if name in found:
            words, hint = "{input} holds {first} and {second}, two masks of one name", "leave one of them"
            fields = {"input": folder, "first": found[name].name, "second": path.name}
            raise BadInputError(words, hint, "folder.same_name", **fields)
        found[name] = path
    if not found:
        words, hint = "{input} holds no masks ({suffixes})", "give a folder with one label file an organ"
        raise BadInputError(words, hint, "folder.no_masks", input=folder, suffixes=" ".join(LABEL_SUFFIXES))
    return found


def read_mask(path: FilePath) -> Mask:
    """One mask.

    Raises:
        BadInputError: the file cannot be read, or holds several labels.
    """
    volume = read_labels(path)
    labels = volume.label_values()
    if len(labels) > 1 or len(volume.layers) > 1:
        words = "{input} holds several labels ({labels}), so it is no mask of one organ"
        hint = "refine this file by itself, with --template LABEL=NAME"
        raise BadInputError(words, hint, "folder.several_labels", input=path, labels=", ".join(map(str, labels)))
    return Mask(volume, labels[0] if labels else None)


def stacked(masks: Mapping[str, Mask], folder: FilePath, occupied: np.ndarray | None = None) -> LabelVolume:
    """One volume of the masks of one grid: each is a segment with its name as id; those that overlap are on layers.

    Args:
        masks: by name.
        folder: how messages call the volume.
        occupied: (K, J, I) bool voxels of other masks, which get a label without a segment on every layer.
    """
    if len(masks) > _MOST_MASKS:
        words, hint = "{input} holds {count} masks to refine, more than {most}", "name fewer organs"
        raise BadInputError(words, hint, "folder.many_masks", input=folder, count=len(masks), most=_MOST_MASKS)
    geometry = next(iter(masks.values())).volume.geometry
    layers: list[np.ndarray] = []
    segments = []
    for number, (name, mask) in enumerate(masks.items(), start=1):
        voxels = mask.voxels
        index = next((i for i, layer in enumerate(layers) if not (layer[voxels]).any()), len(layers))
        if index == len(layers):
            layers.append(np.zeros(geometry.shape_kji, np.uint8))
        layers[index][voxels] = number
        segments.append(Segment(number, name, name, layer=index))
    for layer in layers if occupied is not None else ():
        layer[occupied & (layer == 0)] = len(masks) + 1
    return LabelVolume(tuple(layers), geometry, tuple(segments), source=str(folder))


def write_mask(mask: Mask, voxels: np.ndarray, path: FilePath) -> None:
    """The file of a mask with other (K, J, I) bool voxels; label number, type and header stay.

    Raises:
        BadInputError: it cannot be written.
    """
    if mask.label is None:
        raise ValueError("a mask without voxels has no label number to write")
    write_labels(mask.volume.replaced(mask.label, voxels), path)


def check_folder_writable(target: FilePath, source: FilePath, overwrite: bool = False) -> None:
    """Complain about an output folder before any work is done for it.

    Raises:
        BadInputError: it holds files already and may not be overwritten, lies within the input, or cannot be made.
    """
    target, source = Path(target), Path(source)
    if target.is_file():
        raise cannot_write(target, "it is a file, and the input a folder", "give the name of a folder")
    inner, outer = target.resolve(), source.resolve()
    if inner == outer or outer in inner.parents or inner in outer.parents:
        words = "{path} and {input} lie within each other"
        raise BadInputError(words, "choose another output folder", "output.within_input", path=target, input=source)
    if not overwrite and target.is_dir() and any(target.iterdir()):
        words, hint = "Cannot write {path}: the folder holds files already", "choose another, or empty it"
        raise BadInputError(words, hint, "output.not_empty", path=target)
    with contextlib.suppress(_Probe), folder_taking_place(target):
        raise _Probe


class _Probe(Exception):
    """Leaves ``folder_taking_place`` without a change."""


@contextlib.contextmanager
def folder_taking_place(target: FilePath, overwrite: bool = False) -> Iterator[Path]:
    """Yield a new folder beside ``target`` that takes its place when the block ends without an error.

    Args:
        target: absent or empty.
        overwrite: it may also hold files, which go when all is written.

    Raises:
        BadInputError: the operating system refused.
    """
    target = Path(target)
    temporary, old = (target.with_name(f"{_TEMPORARY}{secrets.token_hex(6)}") for _ in range(2))
    try:
        temporary.mkdir()
    except OSError as error:
        raise refused(error, target) from error
    try:
        yield temporary
        try:
            if target.is_dir() and overwrite:
                os.replace(target, old)
            elif target.is_dir():
                target.rmdir()
            os.replace(temporary, target)
        except OSError as error:
            raise refused(error, target) from error
    finally:
        if old.exists() and not target.exists():
            os.replace(old, target)
        for folder in (temporary, old):
            shutil.rmtree(folder, ignore_errors=True)


def copy_folder(source: FilePath, target: FilePath) -> None:
    """Copy all files of a folder, byte for byte, into one that exists.

    Raises:
        BadInputError: the operating system refused.
    """
    try:
        shutil.copytree(source, target, dirs_exist_ok=True)
    except shutil.Error as error:
        path, _, reason = error.args[0][0]
        raise cannot_write(target, f"{path} cannot be copied ({reason})", "check its permissions") from error
    except OSError as error:
        raise refused(error, Path(target)) from error
