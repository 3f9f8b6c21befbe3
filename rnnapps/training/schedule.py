"""The learning rate over a run."""

import math
from typing import Literal


def learning_rate(
    peak: float, step: int, fraction: float, warmup_steps: int = 0, schedule: Literal["constant", "cosine"] = "cosine"
) -> float:
    """The rate of update number `step`.

        warm-up:  min(1, (step + 1) / warmup_steps)
        cosine:   (1 + cos(pi * fraction)) / 2      (Loshchilov and Hutter, 2017, https://arxiv.org/abs/1608.03983)

    Args:
        peak: The highest rate.
        step: Updates done before this one.
        fraction: Part of the budget that is spent, 0 to 1.
        warmup_steps: Updates in which the rate grows.
        schedule: What follows the warm-up.
    """
    warm = min(1.0, (step + 1) / warmup_steps) if warmup_steps else 1.0
    decay = 1.0 if schedule == "constant" else (1 + math.cos(math.pi * min(1.0, fraction))) / 2
    return peak * warm * decay
