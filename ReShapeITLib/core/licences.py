"""What licences of weights allow."""

from __future__ import annotations


def is_non_commercial(licence: str) -> bool:
    """True where a Creative Commons licence forbids commercial use."""
    return "-NC" in licence.upper().replace(" ", "-")
