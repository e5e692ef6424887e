"""Everything a training run can be told, readable from a YAML file."""

from __future__ import annotations

import contextlib
from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from functools import cache
from pathlib import Path
from typing import Annotated, get_type_hints

from ..core.errors import MISSING_PACKAGE, BadInputError
from ..field.deform_template import FIELD_PRESETS, FieldOptions
from ..field.losses import LossWeights
from ..io.settings import yaml_mapping

_LONGEST_TOLD = 80  # characters of a wrong value in a message


@dataclass(frozen=True)
class OptimiserOptions:
    """Adam with warm-up, cosine decay and clipping, which keep the Laplacian term from exploding.

    Args:
        steps: optimisation steps.
        shapes_per_step: shapes in one step.
        surface_points, free_points: points of each shape in a step.
        laplacian_points: points of each shape on which L_vec is estimated (0: all of them).
        learning_rate: of Temp (and of Deform where there is no H).
        hyper_learning_rate: of H. A weight of Deform is a sum over all of H's last hidden units, so a step of Adam
            moves it many times as far as H's own weights.
        code_learning_rate: of alpha, beta, t and beta_t.
        warmup_steps: linear warm-up; the code penalties reach full weight only after ten times as many steps, else
            they pull the codes to zero before these mean anything.
        final_rate: share of the learning rate left at the end of the cosine.
        clip_norm: largest gradient norm, as a multiple of its running median.
        template_interval: steps between two samplings of the template's surface.
        template_resolution: marching cubes cells along an edge for it.
    """

    steps: int = 500
    shapes_per_step: int = 16
    surface_points: int = 4000
    free_points: int = 4000
    laplacian_points: int = 0
    learning_rate: float = 1e-4
    hyper_learning_rate: float = 1e-4
    code_learning_rate: float = 1e-4
    warmup_steps: int = 50
    final_rate: float = 0.05
    clip_norm: float = 5.0
    template_interval: int = 100
    template_resolution: int = 64


@dataclass(frozen=True)
class TrainingConfig:
    """One training run.

    Args:
        organ: TotalSegmentator's name of the organ.
        model: size of the fields and of H.
        weights: loss weights.
        optimiser: steps, batch and schedule.
        code_start: "normal" draws codes from N(0, 0.01^2) as in the paper; "pca" starts them at the principal
            components of the shapes' coarse distance maps, so neighbouring shapes have neighbouring codes at once.
        code_spread: root mean square entry of codes that start at principal components.
        start_from: checkpoint of another run over the same cases whose weights and codes this one starts with.
        temp_from: name or file of a template whose Temp, and with it the surface that organs are aligned to, is kept as
            it is, so that restoration networks go on working; only H, Deform and the codes are trained.
        seed: of initialisation and of every draw.
        threads: torch threads on the CPU.
        checkpoint_interval: steps between checkpoints.
    """

    organ: str = ""
    model: FieldOptions = field(default_factory=FieldOptions)
    weights: LossWeights = field(default_factory=LossWeights)
    optimiser: OptimiserOptions = field(default_factory=OptimiserOptions)
    code_start: str = "normal"
    code_spread: float = 0.1
    start_from: str = ""
    temp_from: str = ""
    seed: int = 0
    threads: int = 1
    checkpoint_interval: int = 250

    def as_dict(self) -> dict:
        """Nested plain values."""
        return asdict(self)


COMPACT_CONFIG = TrainingConfig(
    model=FIELD_PRESETS["compact"],
    # Free points near the surface would be pushed off it by the paper's off-surface weight.
    weights=LossWeights(off_surface=20.0, alpha=4.0, beta=4.0),
    optimiser=OptimiserOptions(
        steps=1500,
        shapes_per_step=8,
        surface_points=250,
        free_points=250,
        laplacian_points=100,
        learning_rate=5e-4,
        hyper_learning_rate=1e-4,
        code_learning_rate=1e-3,
        warmup_steps=100,
        final_rate=0.02,
    ),
    code_start="pca",
    code_spread=0.3,
)
# The compact fields without Temp and H, and without the loss terms that need a template.
AUTO_DECODER_CONFIG = replace(
    COMPACT_CONFIG,
    model=replace(COMPACT_CONFIG.model, use_beta=False, use_template=False),
    weights=replace(COMPACT_CONFIG.weights, template_normal=0.0, vec=0.0, dis=0.0, template_shape=0.0),
)
CONFIG_PRESETS = {"paper": TrainingConfig(), "compact": COMPACT_CONFIG, "auto_decoder": AUTO_DECODER_CONFIG}
_TEMPLATE_TERMS = ("template_normal", "vec", "dis", "template_shape")
CODE_STARTS = ("normal", "pca")
# What a value must do or be, by the first word of pydantic's errors.
_NEEDED = {
    "int": "be a whole number",
    "float": "be a number",
    "finite": "be a finite number",
    "bool": "be true or false",
    "string": "be text",
    "dict": "hold settings of its own",
}
# What is no size, rate or count above zero may be zero, never less.
_POSITIVE = {
    "hidden",
    "code_size",
    "hyper_hidden",
    "hyper_depth",
    "first_omega",
    "hidden_omega",
    "steps",
    "shapes_per_step",
    "surface_points",
    "free_points",
    "clip_norm",
    "template_interval",
    "template_resolution",
    "threads",
    "checkpoint_interval",
}


def config_from_dict(values: dict, where: str = "the configuration") -> TrainingConfig:
    """A configuration from nested plain values; ``preset`` names what the rest overrides.

    Raises:
        BadInputError: an unknown key, preset or code start, or a value of the wrong type or range.
    """
    values = dict(values)
    preset = values.pop("preset", "compact")
    if not isinstance(preset, str) or preset not in CONFIG_PRESETS:
        raise BadInputError(
            "{where}: preset '{preset}' is unknown",
            "use one of {choices}",
            "config.preset",
            where=where,
            preset=preset,
            choices=", ".join(CONFIG_PRESETS),
        )
    config = override(CONFIG_PRESETS[preset], values, where)
    if config.code_start not in CODE_STARTS:
        raise BadInputError(
            "{where}: code_start '{code_start}' is unknown",
            "use {choices}",
            "config.code_start",
            where=where,
            code_start=config.code_start,
            choices=" or ".join(CODE_STARTS),
        )
    if not config.model.use_template and any(getattr(config.weights, name) for name in _TEMPLATE_TERMS):
        raise BadInputError(
            "{where}: without a template the weights {weights} have nothing to act on",
            "set them to 0, or start from the preset auto_decoder",
            "config.no_template",
            where=where,
            weights=", ".join(_TEMPLATE_TERMS),
        )
    return config


def read_config(path: str | Path) -> TrainingConfig:
    """A configuration from a YAML file (``yaml.safe_load``: plain values only)."""
    where = f"The configuration {path}"
    return config_from_dict(yaml_mapping(path, where, empty={}), where)


def override(base, values: dict, where: str):
    """A copy of a settings dataclass with nested plain values put in, every key, type and range checked."""
    return _replaced(base, checked(type(base), values, where))


def checked(kind: type, values: dict, where: str) -> dict:
    """Nested plain values for some fields of a settings dataclass, as pydantic takes them without converting types.

    Raises:
        BadInputError: a key, type or range is wrong, or pydantic is missing.
    """
    try:
        from pydantic import TypeAdapter, ValidationError
    except ImportError as error:
        hint = "run: pip install 'ReShapeITLib[train]'"
        raise BadInputError(
            "Settings need the Python package {package}", hint, MISSING_PACKAGE, package="pydantic"
        ) from error
    try:
        told = TypeAdapter(_schema(kind)).validate_python(values)
    except ValidationError as error:
        raise _fault(kind, error.errors(include_url=False)[0], where) from error
    return {key: told[key] for key in values}  # in the file's order


def _replaced(base, changes: dict):
    """``base`` with nested changes."""
    nested = {
        key: _replaced(getattr(base, key), value) for key, value in changes.items() if is_dataclass(getattr(base, key))
    }
    return replace(base, **{**changes, **nested})


@cache
def _schema(kind: type):
    """The dictionary by which a settings dataclass is read: any of its fields, nothing else."""
    from pydantic import with_config
    from typing_extensions import TypedDict  # pydantic refuses that of typing before Python 3.12

    told = {name: _type(name, hint) for name, hint in get_type_hints(kind).items()}
    return with_config({"extra": "forbid", "strict": True})(TypedDict(kind.__name__, told, total=False))


def _type(name: str, hint):
    """The type of a setting with its range."""
    from pydantic import BeforeValidator, Field

    if is_dataclass(hint):
        return _schema(hint)
    if hint not in (int, float):
        return hint
    least = {"gt": 0} if name in _POSITIVE else {"ge": 2 if name == "depth" else 0}
    if hint is int:
        return Annotated[int, Field(**least)]
    return Annotated[float, Field(allow_inf_nan=False, **least), BeforeValidator(_number)]


def _number(value):
    """YAML 1.1 takes a number without a point, such as 5e-4, for text."""
    with contextlib.suppress(ValueError, OverflowError):
        return float(value) if isinstance(value, str) else value
    return value


def _fault(kind: type, error: dict, where: str) -> BadInputError:
    """What pydantic found, in this program's words."""
    *parents, key = [str(part) for part in error["loc"] if part != "[key]"]
    where, fault = ", ".join([where, *parents]), error["type"]
    if fault in ("extra_forbidden", "invalid_key"):
        for parent in parents:
            kind = get_type_hints(kind)[parent]
        known = ", ".join(field.name for field in fields(kind))
        words, hint = "{where}: {key} is not a setting", "use one of {known}"
        return BadInputError(words, hint, "config.key", where=where, key=_told(key), known=known)
    bounds = error.get("ctx", {})
    if "gt" in bounds or "ge" in bounds:
        needed = f"be more than {bounds['gt']}" if "gt" in bounds else f"be at least {bounds['ge']}"
    else:
        needed = _NEEDED.get(fault.partition("_")[0], "be of another type")
    words, hint, value = "{where}: {key} must {needed}, not {value}", "correct it", _told(error["input"])
    return BadInputError(words, hint, "config.value", where=where, key=_told(key), needed=needed, value=value)


def _told(value) -> str:
    """A value in one line, the beginning of it where it is long."""
    text = repr(value)
    return text if len(text) <= _LONGEST_TOLD else f"{text[:_LONGEST_TOLD]}..."
