"""Packages of the wheel: the library, and the trained files of Resources as ``templates_data``,
``restoration_data`` and ``image_data`` within it."""

from setuptools import find_packages, setup

DATA = {
    "ReShapeITLib.templates_data": "Resources/Templates",
    "ReShapeITLib.restoration_data": "Resources/Restoration",
    "ReShapeITLib.image_data": "Resources/Image",
}

setup(
    packages=[*find_packages(include=["ReShapeITLib", "ReShapeITLib.*"]), *DATA],
    package_dir=DATA,
    package_data={
        "ReShapeITLib": ["py.typed", "*.json", "*.yaml", "review/page/*"],
        **{package: ["*.safetensors", "*.json"] for package in DATA},
    },
)
