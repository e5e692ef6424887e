"""Everything a training run can be told, readable from a YAML file."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, is_dataclass, replace
from pathlib import Path

from ..errors import BadInputError
from ..fields import FIELD_PRESETS, FieldOptions
from ..losses import LossWeights


@dataclass(frozen=True)
class OptimiserOptions:
    """Adam with warm-up, cosine decay and clipping, which keep the Laplacian term from exploding.

    Args:
        steps: optimisation steps.
        shapes_per_step: shapes in one step.
        surface_points, free_points: points of each shape in a step.
        laplacian_points: points of each shape on which L_vec is estimated (0: all of them).
        learning_rate: of Temp, Deform and H.
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
        steps=3000, shapes_per_step=6, surface_points=500, free_points=500, laplacian_points=250,
        learning_rate=5e-4, code_learning_rate=1e-3, warmup_steps=100, final_rate=0.02,
    ),
    code_start="pca",
    code_spread=0.3,
)  # fmt: skip
CONFIG_PRESETS = {"paper": TrainingConfig(), "compact": COMPACT_CONFIG}


def config_from_dict(values: dict, where: str = "the configuration") -> TrainingConfig:
    """A configuration from nested plain values; ``preset`` names what the rest overrides.

    Raises:
        BadInputError: an unknown key or preset, or a value of the wrong type.
    """
    values = dict(values)
    preset = values.pop("preset", "compact")
    if preset not in CONFIG_PRESETS:
        raise BadInputError(f"{where}: preset '{preset}' is unknown; use one of {', '.join(CONFIG_PRESETS)}.")
    return _override(CONFIG_PRESETS[preset], values, where)


def read_config(path: str | Path) -> TrainingConfig:
    """A configuration from a YAML file (``yaml.safe_load``: plain values only)."""
    import yaml

    try:
        values = yaml.safe_load(Path(path).read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise BadInputError(f"The configuration {path} cannot be read ({error.strerror}); check the path.") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadInputError(f"The configuration {path} is not valid YAML: {str(error).splitlines()[0]}.") from error
    if not isinstance(values, dict):
        raise BadInputError(f"The configuration {path} must be a list of 'key: value' lines.")
    return config_from_dict(values, f"The configuration {path}")


def _override(base, values: dict, where: str):
    known = {f.name: getattr(base, f.name) for f in fields(base)}
    changes = {}
    for key, value in values.items():
        if key not in known:
            raise BadInputError(f"{where}: '{key}' is not a setting; known here are {', '.join(known)}.")
        current = known[key]
        if is_dataclass(current):
            if not isinstance(value, dict):
                raise BadInputError(f"{where}: '{key}' must hold settings of its own, not {value!r}.")
            changes[key] = _override(current, value, f"{where}, {key}")
        elif isinstance(current, float) and isinstance(value, int | float) and not isinstance(value, bool):
            changes[key] = float(value)
        elif type(value) is type(current):
            changes[key] = value
        else:
            raise BadInputError(f"{where}: '{key}' must be a {type(current).__name__}, not {value!r}.")
    return replace(base, **changes)
