"""Where the image networks are."""

from __future__ import annotations

import os
from pathlib import Path

CT = "CT"
FOLDERS_VARIABLE = "RESHAPEIT_IMAGE"
SUFFIX, NUMBERS = ".safetensors", "numbers.json"


def available_image_model(modality: str) -> Path | None:
    """File of the network for a modality; the folder of $RESHAPEIT_IMAGE comes first."""
    package = Path(__file__).resolve().parents[1]
    named = [Path(p).expanduser() for p in os.environ.get(FOLDERS_VARIABLE, "").split(os.pathsep) if p]
    for folder in (*named, package / "image_data", package.parent / "Resources" / "Image"):
        path = folder / f"{modality.lower()}{SUFFIX}"
        if path.is_file():
            return path
    return None
