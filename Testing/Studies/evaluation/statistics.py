"""What the rows say about each method: averages, tails, and whether the difference to the input is more than chance."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from .measure import METRIC_NAMES
from .study import INPUT

LARGER_IS_BETTER = {"dsc", "nsd"}
RESAMPLES = 10_000
# A case is harmed where Dice falls by more than this, or HD95 grows by more than this share.
HARM_DSC, HARM_HD95 = 0.005, 0.05
# Differences below this share of the mean input are sampling noise.
_NOISE = 1e-3


@dataclass(frozen=True, eq=False)
class Pairs:
    """All inputs of a family, before and after one method.

    A method that fails leaves the user with the input, so there the values after are those before.

    Args:
        patients: (n,) patient of each input.
        before, after: (n,) values by metric.
        seconds: (n,) of the method; NaN where it failed.
        failed: inputs on which the method failed.
        left_out: inputs that are not among the n because they have no voxels, so no distances either.
    """

    patients: np.ndarray
    before: dict[str, np.ndarray]
    after: dict[str, np.ndarray]
    seconds: np.ndarray
    failed: int
    left_out: int


@dataclass(frozen=True)
class Statistic:
    """One family, method and metric; metrics have the units of ``SegmentationMetrics``.

    Args:
        family, method, metric: what it is about.
        inputs, patients: how many.
        failed, left_out: see :class:`Pairs`.
        mean, median: over the inputs.
        worst_decile: mean of the worst tenth.
        change: difference of the means after and before, as a share of that before; NaN where that is 0.
        difference: mean of after minus before.
        low, high: 95 % bootstrap interval of ``difference``, patients resampled.
        improved, worsened: shares of inputs that changed by more than noise.
        harmed: share of inputs that lost more than 0.5 points of Dice or 5 % of HD95; the same for all metrics.
        seconds: mean time of the method; NaN for the input.
    """

    family: str
    method: str
    metric: str
    inputs: int
    patients: int
    failed: int
    left_out: int
    mean: float
    median: float
    worst_decile: float
    change: float
    difference: float
    low: float
    high: float
    improved: float
    worsened: float
    harmed: float
    seconds: float


def names_of(rows: Iterable[dict], key: str) -> list[str]:
    """The different values under ``key`` in the order in which they come."""
    return list(dict.fromkeys(row[key] for row in rows))


def pairs(rows: Iterable[dict], family: str, method: str) -> Pairs:
    """The inputs of a family that have a row of the method, each with its row of the input itself."""
    rows = [row for row in rows if row["family"] == family]
    given = {(row["case"], row["variant"]): row for row in rows if row["method"] == INPUT}
    done = [(given.get((row["case"], row["variant"])), row) for row in rows if row["method"] == method]
    known = [(old, new) for old, new in done if old is not None]
    used = [(old, new) for old, new in known if old["hd95_mm"] is not None]

    def column(name: str, which: int) -> np.ndarray:
        source = [pair[0] if "error" in pair[1] else pair[which] for pair in used]
        return np.array([math.inf if row[name] is None else row[name] for row in source], dtype=np.float64)

    return Pairs(
        patients=np.array([old["patient"] for old, _ in used], dtype=str),
        before={name: column(name, 0) for name in METRIC_NAMES},
        after={name: column(name, 1) for name in METRIC_NAMES},
        seconds=np.array([new.get("seconds", math.nan) for _, new in used], dtype=np.float64),
        failed=sum("error" in new for _, new in used),
        left_out=len(known) - len(used),
    )


def statistics(rows: list[dict], resamples: int = RESAMPLES) -> list[Statistic]:
    """Every family, method and metric that the rows speak of."""
    found = []
    for family in names_of(rows, "family"):
        for method in names_of(rows, "method"):
            told = pairs(rows, family, method)
            if len(told.patients):
                found += [_statistic(family, method, metric, told, resamples) for metric in METRIC_NAMES]
    return found


def harmed(told: Pairs) -> np.ndarray:
    """(n,) bool: lost more than 0.5 points of Dice or 5 % of HD95."""
    lost = told.before["dsc"] - told.after["dsc"] > HARM_DSC
    return lost | (told.after["hd95_mm"] > (1.0 + HARM_HD95) * told.before["hd95_mm"])


def worst_decile(values: np.ndarray, larger_is_better: bool) -> float:
    """Mean of the worst tenth of (n,) values, at least one."""
    ordered = np.sort(values) if larger_is_better else np.sort(values)[::-1]
    return float(ordered[: math.ceil(len(values) / 10)].mean())


def bootstrap_interval(differences: np.ndarray, patients: np.ndarray, resamples: int) -> tuple[float, float]:
    """95 % interval of the mean of (n,) paired differences.

    Inputs of one patient are alike, so whole patients are drawn: each resample has as many as there are.

    Args:
        differences: (n,) after minus before.
        patients: (n,) whose input it is.
        resamples: how many; the draws are always the same.
    """
    _, owner = np.unique(patients, return_inverse=True)
    sums, counts = np.bincount(owner, differences), np.bincount(owner)
    drawn = np.random.default_rng(0).integers(len(sums), size=(resamples, len(sums)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _statistic(family: str, method: str, metric: str, told: Pairs, resamples: int) -> Statistic:
    before, after = told.before[metric], told.after[metric]
    difference = after - before
    gain = difference if metric in LARGER_IS_BETTER else -difference
    noise = _NOISE * float(np.abs(before).mean())
    low, high = bootstrap_interval(difference, told.patients, resamples)
    timed = told.seconds[np.isfinite(told.seconds)]
    return Statistic(
        family=family,
        method=method,
        metric=metric,
        inputs=len(before),
        patients=len(np.unique(told.patients)),
        failed=told.failed,
        left_out=told.left_out,
        mean=float(after.mean()),
        median=float(np.median(after)),
        worst_decile=worst_decile(after, metric in LARGER_IS_BETTER),
        change=float(difference.mean() / before.mean()) if before.mean() else math.nan,
        difference=float(difference.mean()),
        low=low,
        high=high,
        improved=float(np.mean(gain > noise)),
        worsened=float(np.mean(gain < -noise)),
        harmed=float(harmed(told).mean()),
        seconds=float(timed.mean()) if len(timed) else math.nan,
    )
