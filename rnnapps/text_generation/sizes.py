"""Sizes of a batch: those of the config, or smaller ones that fit a short text."""

from __future__ import annotations

from rnnapps import config as configs
from rnnapps.text_generation.config import Config

_FEWEST = 50  # tokens; fewer teach nothing, and `windows` refuses what is too short


def fitted(config: Config, tokens: int) -> Config:
    """The config, with a smaller window and fewer streams where the text has less than one window for each stream.

    The window is at most half of the text, and each stream then has two of them at least, so that a state is carried.

    Args:
        config: Of the run.
        tokens: Of the training part.
    """
    if tokens < _FEWEST or -(-tokens // config.steps) >= config.batch_size or config.strategy != "none":
        return config
    steps = min(config.steps, tokens // 2)
    return configs.replace(config, steps=steps, batch_size=min(config.batch_size, tokens // (2 * steps)))


def described(asked: Config, config: Config) -> list[str]:
    """A sentence on sizes that are not those that were asked for."""
    changed = [
        f"{configs.option(name)} {getattr(config, name)} in the place of {getattr(asked, name)}"
        for name in ("batch_size", "steps")
        if getattr(config, name) != getattr(asked, name)
    ]
    return [f"the text is short: {' and '.join(changed)}"] if changed else []
