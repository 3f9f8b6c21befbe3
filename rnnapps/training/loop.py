"""What happens around the updates of a run: budget, learning rate, checkpoints, validation, samples, log."""

import dataclasses
import math
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np

from rnnapps.errors import RunError
from rnnapps.training import checkpoint
from rnnapps.training.console import Console
from rnnapps.training.distribution import Distribution
from rnnapps.training.log import Log
from rnnapps.training.schedule import learning_rate

_LOG_EVERY = 50  # updates


@dataclass
class State:
    """Where a run stands; saved with every checkpoint.

    Attributes:
        step: Updates done.
        seconds: Time spent training, over all sessions.
        smooth_loss: Moving average of the loss, in the unit of the loss.
        best: Best validation figure so far.
        since_best: Validations since.
        clipped: Updates whose gradient was clipped.
    """

    step: int = 0
    seconds: float = 0.0
    smooth_loss: float = math.nan
    best: float | None = None
    since_best: int = 0
    clipped: int = 0


@dataclass(frozen=True)
class Plan:
    """How long to train, and what to do on the way.

    Attributes:
        minutes: Budget of time, or None.
        steps: Budget of updates, or None; the run ends with the first budget that is spent.
        peak: Highest learning rate; `warmup_steps` and `schedule` are those of `learning_rate`.
        patience: Validations without a better one that end the run; 0 never does.
        validate_every: Seconds between validations; each is followed by a checkpoint.
        sample_every: Updates between samples; 0 is never.
        smoothing: Weight of the past in the moving average of the loss.
        start_loss: What the moving average starts from: the loss of knowing nothing, in the unit of the loss.
        explosion: A moving average above it ends the run.
        loss_scale: Tokens that the loss is summed over: the window with a summed loss, 1 with a mean.
        counted_per_step: Of what the metric counts, in an update.
        per_epoch: Updates of an epoch.
    """

    minutes: float | None
    steps: int | None
    peak: float
    warmup_steps: int
    schedule: Literal["constant", "cosine"]
    patience: int
    validate_every: float
    sample_every: int
    smoothing: float
    start_loss: float
    explosion: float
    loss_scale: float
    counted_per_step: int
    per_epoch: int = 0

    @classmethod
    def of(cls, config: Any, per_epoch: int, **more: Any) -> "Plan":
        """What a task's config says, with what it says nothing of.

        Args:
            config: With the options of that name; `epochs` of `per_epoch` updates are the budget of updates, and
                without `sample_every` nothing is sampled.
            per_epoch: Updates of an epoch.
            **more: The other attributes.
        """
        same = ("minutes", "warmup_steps", "schedule", "patience", "validate_every", "smoothing")
        return cls(
            **{name: getattr(config, name) for name in same},
            steps=None if config.epochs is None else max(1, round(config.epochs * per_epoch)),
            peak=config.learning_rate,
            per_epoch=per_epoch,
            sample_every=getattr(config, "sample_every", 0),
            **more,
        )


class Loop(keras.callbacks.Callback):
    """Runs a trainer through a plan, as a callback of its `fit`.

    A checkpoint `folder/last.npz` holds all variables and the `State`; `validate` returns the metric (or None where
    nothing is held out) and `keep` saves the model that is best so far. Every checkpoint is written at the end of an
    update, and never from weights that are not finite.

    Args:
        trainer: Compiled; its `network` is what learns.
        plan: What to do.
        folder: Where checkpoints go.
        log: Where figures go.
        console: Where a person watches.
        validate: Returns the validation figure.
        keep: Saves the model as the best one.
        sample: Returns a text that the model writes now.
        distribution: How the trainer is spread; only the chief process writes, shows and validates.
    """

    def __init__(
        self,
        trainer: keras.Model,
        plan: Plan,
        folder: Path,
        log: Log,
        console: Console,
        validate: Callable[[], float | None],
        keep: Callable[[], None],
        sample: Callable[[], str],
        distribution: Distribution | None = None,
    ):
        super().__init__()
        self.trainer, self.plan, self.path = trainer, plan, folder / "last.npz"
        self.log, self.console = log, console
        self.validate, self.keep, self.sample = validate, keep, sample
        self.distribution = distribution or Distribution()
        self.state = State(smooth_loss=plan.start_loss)
        self._saved_step = -1
        self.interrupted = self._interrupted = False

    def resume(self) -> None:
        """Goes back to the last checkpoint.

        Raises:
            RunError: There is none, or it is damaged.
        """
        self._build()
        variables, of_rows = self._variables(), self._of_rows()
        shapes = self.distribution.shapes(variables, of_rows)
        arrays, state = checkpoint.load(self.path, [v.name for v in variables], shapes)
        self.distribution.assign(variables, arrays, of_rows)
        self.state = State(**state)
        if self.distribution.is_chief:
            self.log.forget_after(self.state.step)

    def run(self, windows) -> State:
        """Trains on `windows`, a dataset that begins at `state.step`, until a budget is spent or Ctrl-C."""
        self._build()
        self.distribution.vary_seeds(self.trainer.variables)
        self._before, self._started = self.state.seconds, time.monotonic()
        self._validated = self.state.seconds
        left = (self.plan.steps or 10**9) - self.state.step
        if left > 0 and not self._spent():
            with _interrupts(self._interrupt):
                self.distribution.fit(self.trainer, windows, left, self)
        if self.distribution.is_alone:
            self.interrupted |= self._interrupted  # also in the middle of the last validation
        self.console.close()
        return self.state

    def on_train_batch_begin(self, batch, logs=None):
        plan, fraction = self.plan, self._fraction()
        rate = learning_rate(plan.peak, self.state.step, fraction, plan.warmup_steps, plan.schedule)
        self.trainer.optimizer.learning_rate.assign(rate)
        self._rate = rate

    def on_train_batch_end(self, batch, logs=None):
        state, plan = self.state, self.plan
        loss = float(logs["loss"]) * plan.loss_scale
        state.step += 1
        state.clipped += int(logs["clipped"])
        state.smooth_loss = plan.smoothing * state.smooth_loss + (1 - plan.smoothing) * loss
        seconds, interrupted = self.told()
        # Of several processes the chief's clock and everybody's Ctrl-C, as they were before the update.
        state.seconds = logs.get("seconds", seconds)
        self.interrupted = bool(logs.get("interrupted", interrupted))
        self._refuse_explosion(loss)
        if state.step % _LOG_EVERY == 0:
            self._write_figures(logs)
        self.console.update(self._fraction(), state, plan, self._rate)
        if plan.sample_every and state.step % plan.sample_every == 0:
            self._show_sample()
        if state.seconds - self._validated >= plan.validate_every:
            self._validate_and_save()
        if self.distribution.is_alone:
            self.interrupted |= self._interrupted  # at once: the next update's Ctrl-C would be a second one
        if self.interrupted or self._spent() or (plan.patience and state.since_best >= plan.patience):
            # Before `fit` ends, which puts the averages of weights, where an optimiser keeps them, in their place.
            if self._saved_step != state.step:
                self._validate_and_save()
            self.trainer.stop_training = True

    def told(self) -> tuple[float, bool]:
        """The seconds of training until now, and whether somebody wants to stop."""
        return self._before + time.monotonic() - self._started, self._interrupted

    def _fraction(self) -> float:
        """Part of the budget that is spent, by steps where they are the budget: time would not be reproducible."""
        by_steps = self.state.step / self.plan.steps if self.plan.steps else 0.0
        by_time = self.state.seconds / (60 * self.plan.minutes) if self.plan.minutes else 0.0
        return min(1.0, max(by_steps, by_time))

    def _spent(self) -> bool:
        return self._fraction() >= 1.0

    def _refuse_explosion(self, loss: float) -> None:
        # A loss that was summed is judged a token; a smoothed one, since a single hard window is no explosion.
        if math.isfinite(loss) and self.state.smooth_loss < self.plan.explosion:
            return
        what = "is not a number" if not math.isfinite(loss) else f"grew to {self.state.smooth_loss:.3g}"
        kept = f"the last good checkpoint is {self.path}" if self.path.exists() else "there was no checkpoint yet"
        self.console.close()
        raise RunError(
            f"the loss {what} at update {self.state.step}, so training stopped: a smaller --learning-rate or --clip-at "
            f"may help, and {kept}"
        )

    def _validate_and_save(self) -> None:
        variables, chief = self._variables(), self.distribution.is_chief
        arrays = self.distribution.arrays(variables, self._of_rows())
        if not all(np.isfinite(array).all() for array in arrays):
            return  # the next loss says so, and the checkpoint before stays
        state, figure = self.state, self.distribution.from_chief(self.validate)
        if figure is not None:
            better = state.best is None or self.console.metric.is_better(figure, state.best)
            state.best, state.since_best = (figure, 0) if better else (state.best, state.since_best + 1)
            if chief:
                named = {f"validation_{self.console.metric.name}": figure}
                self.log.write(step=state.step, seconds=round(state.seconds, 3), **named)
            self.console.validated(state, figure, better)
        if chief and (figure is None or better):
            self.keep()
        if chief:
            checkpoint.save(self.path, [v.name for v in variables], arrays, dataclasses.asdict(state))
        self._saved_step = state.step
        state.seconds = self._validated = self.distribution.from_chief(lambda: self.told()[0]) or 0.0

    def _show_sample(self) -> None:
        if self.distribution.is_chief:
            self.console.sample(self.state.step, self.sample())

    def _write_figures(self, logs) -> None:
        if not self.distribution.is_chief:
            return
        state = self.state
        self.log.write(
            step=state.step, seconds=round(state.seconds, 3), loss=float(logs["loss"]), smooth_loss=state.smooth_loss,
            gradient_norm=float(logs["gradient_norm"]), clipped=state.clipped, learning_rate=self._rate,
        )  # fmt: skip

    def _variables(self) -> list[keras.Variable]:
        return [*self.trainer.variables, *self.trainer.optimizer.variables]

    def _of_rows(self) -> list[keras.Variable]:
        return list(getattr(self.trainer, "carried", {}).values())

    def _build(self) -> None:
        with self.distribution.scope():
            self.trainer.optimizer.build(self.trainer.network.trainable_variables)

    def _interrupt(self) -> None:
        self._interrupted = True


class _interrupts:  # noqa: N801
    """While open, the first Ctrl-C (or termination) calls `stop`; a second one acts as it always does."""

    def __init__(self, stop: Callable[[], None]):
        self._stop = stop
        self._old: dict[int, object] = {}

    def __enter__(self):
        for number in (signal.SIGINT, signal.SIGTERM):
            self._old[number] = signal.signal(number, self._handle)

    def __exit__(self, *_):
        self._restore()

    def _handle(self, *_):
        self._restore()
        self._stop()

    def _restore(self):
        for number, handler in self._old.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
