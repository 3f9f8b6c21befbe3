"""Sizes of a window, and of what is held out: the usual ones, or those that fit a short series."""

from __future__ import annotations

from rnnapps import config as configs
from rnnapps.data.panel import Panel, Series
from rnnapps.forecasting.config import Config

HISTORY, HORIZON, VALIDATION_FRACTION = 96, 24, 0.1
_HORIZONS = 12  # that a short series holds at least
_MOST_VALIDATION = 0.2


def sizes_of(config: Config) -> tuple[int, int]:
    """History and horizon of a config, the usual ones where it says none."""
    return config.history or HISTORY, config.horizon or HORIZON


def fitted(asked: Config, config: Config, panel: Panel, season: int) -> Config:
    """The config with sizes that fit its series, where none is asked for: the usual ones where the training part of
    the longest series holds two windows of them side by side, and each other part a horizon.

    Else the horizon is at most a twelfth of the series; validation is two horizons, up to a fifth of it; and the
    history is half of what is left to learn after a horizon, in whole seasons where it holds one, so that there are as
    many windows as steps in one.

    Args:
        asked: What the user asked for.
        config: The same, resolved.
        panel: The series, cut by them.
        season: Steps; 1 where there is none.
    """
    history, horizon = sizes_of(config)
    longest = max(panel.series, key=lambda one: one.observed)
    steps, test = longest.observed, config.test_fraction or 0.0
    validation = config.validation_fraction
    if config.label is not None or _fits(longest, history, horizon):
        return configs.replace(config, history=history, horizon=horizon)
    step = config.segment if asked.kind == "segment" else 1
    if config.horizon is None:
        horizon = _multiple(min(HORIZON, steps // _HORIZONS), step)
    if asked.validation_fraction is None and validation:
        wanted = min(_MOST_VALIDATION, 2 * horizon / max(steps, 1))
        validation = max(validation, round(wanted, 3))
    if config.history is None:
        learnt = steps - round(steps * test) - round(steps * (validation or 0.0))
        half = max(1, (learnt - horizon) // 2)
        history = min(HISTORY, _multiple(half, season if step == 1 and half >= season else step))
    given = {"history": history, "horizon": horizon, "validation_fraction": validation}
    return configs.replace(config, kind=asked.kind, **given)  # another kind may fit these sizes


def _fits(longest: Series, history: int, horizon: int) -> bool:
    parts = [end - first for first, end in (longest.part(name) for name in ("validation", "test"))]
    return longest.train_end >= 2 * (history + horizon) and all(rows == 0 or rows >= horizon for rows in parts)


def _multiple(steps: int, of: int) -> int:
    return max(steps // of, 1) * of


def described(asked: Config, config: Config) -> list[str]:
    """A sentence that names the sizes that were chosen in the place of the usual ones."""
    usual = {"history": HISTORY, "horizon": HORIZON}
    chosen = {name: getattr(config, name) for name in usual if getattr(asked, name) is None}
    found = [f"--{name} {value}" for name, value in chosen.items() if value != usual[name]]
    if asked.validation_fraction is None and config.validation_fraction != VALIDATION_FRACTION and found:
        found.append(f"--validation-fraction {config.validation_fraction}")
    return [f"the series are short: {', '.join(found)} chosen for them"] if found else []
