"""Measurements on the development data, which need more time or files than tests may."""

import os
from pathlib import Path


def use_unseen_templates() -> None:
    """From here on, templates found by name are those that have not seen the evaluation cases.

    They lie beside this file; an organ that has none there was shipped without having seen them, either.
    """
    known = os.environ.get("RESHAPEIT_TEMPLATES")
    os.environ["RESHAPEIT_TEMPLATES"] = os.pathsep.join(filter(None, [str(Path(__file__).parent / "templates"), known]))
