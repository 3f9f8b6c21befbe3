"""What a person sees while a model trains: one moving line on a terminal, a plain line now and then elsewhere."""

import math
import time

from rich.console import Console as Rich
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

from rnnapps.training.metric import Metric

_PLAIN_EVERY = 10.0  # seconds between lines where nobody can watch a bar


class Console:
    """Shows progress on standard error, which keeps standard output for results.

    Args:
        metric: What the loss is.
        quiet: Whether another process shows it.
    """

    def __init__(self, metric: Metric, quiet: bool = False):
        self.metric = metric
        self._rich = Rich(stderr=True, highlight=False, quiet=quiet)
        self._bar: Progress | None = None
        self._validation = ""
        self._printed = self._first_seconds = -math.inf
        self._first_step = 0

    def update(self, fraction: float, state, plan, rate: float) -> None:
        """Shows where the run stands."""
        if self._first_seconds == -math.inf:
            # The first update traces the graph: the speed is counted from its end.
            self._first_seconds, self._first_step = state.seconds, state.step
        line = self._line(fraction, state, plan, rate)
        if not self._rich.is_terminal:
            if time.monotonic() - self._printed >= _PLAIN_EVERY:
                self._printed = time.monotonic()
                self._rich.print(f"{fraction:4.0%} {line}", soft_wrap=True)
            return
        if self._bar is None:
            columns = BarColumn(bar_width=20), TextColumn("{task.percentage:3.0f}% {task.description}")
            self._bar = Progress(*columns, console=self._rich)
            self._task = self._bar.add_task("", total=1.0)
            self._bar.start()
        self._bar.update(self._task, completed=fraction, description=escape(line))

    def _line(self, fraction, state, plan, rate) -> str:
        elapsed = state.seconds - self._first_seconds
        speed = (state.step - self._first_step) * plan.counted_per_step / elapsed if elapsed > 0 else math.nan
        parts = [
            f"update {state.step}",
            self.metric.text(state.smooth_loss / plan.loss_scale),
            self._validation,
            f"lr {rate:.2g}",
            f"clipped {state.clipped / state.step:.0%}",
            "" if math.isnan(speed) else f"{speed:,.0f} {self.metric.counted}s/s",
            f"{_clock(state.seconds * (1 - fraction) / fraction)} left" if fraction > 0 else "",
        ]
        return "  ".join(part for part in parts if part)

    def validated(self, state, figure: float, better: bool) -> None:
        """Shows a validation figure."""
        self._validation = f"validation {figure:.3f}"
        mark = "best so far, saved" if better else f"best {state.best:.4f}"
        self._rich.print(
            f"update {state.step}, {_clock(state.seconds)}: validation {self.metric.text(figure, 4)}, {mark}",
            soft_wrap=True,
        )

    def sample(self, step: int, text: str) -> None:
        """Shows what the model writes now."""
        self._rich.print(f"--- written after {step} updates ---\n{escape(text)}\n---", soft_wrap=True)

    def say(self, message: str) -> None:
        """Shows one line."""
        self._rich.print(escape(message), soft_wrap=True)

    def close(self) -> None:
        """Leaves the terminal as it was."""
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
