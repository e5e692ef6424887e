"""Packages of the wheel: the library, and the templates of Resources/Templates as ``ReShapeITLib/templates_data``."""

from setuptools import find_packages, setup

setup(
    packages=[*find_packages(include=["ReShapeITLib", "ReShapeITLib.*"]), "ReShapeITLib.templates_data"],
    package_dir={"ReShapeITLib.templates_data": "Resources/Templates"},
    package_data={"ReShapeITLib": ["*.json", "*.yaml"], "ReShapeITLib.templates_data": ["*.safetensors", "*.json"]},
)
