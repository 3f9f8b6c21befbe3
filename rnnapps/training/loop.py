"""What happens around the updates of a run: budget, learning rate, checkpoints, validation, samples, log."""

import dataclasses
import math
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
from rnnapps.training.interrupt import first_interrupt
from rnnapps.training.log import Log
from rnnapps.training.schedule import learning_rate

_LOG_EVERY = 50  # updates
_VALIDATE_AFTER = 200, 500  # updates, at least and at most, where they are the budget


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
        validate_every: Seconds between checkpoints.
        validate_steps: Updates between validations, so that the clock does not choose the best model; 0: each
            checkpoint comes with one.
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
    validate_steps: int = 0

    @classmethod
    def of(cls, config: Any, per_epoch: int, **more: Any) -> "Plan":
        """What a task's config says, with what it says nothing of.

        Args:
            config: With the options of that name; `epochs` of `per_epoch` updates are the budget of updates, where
                validations are at updates too; without `sample_every` nothing is sampled.
            per_epoch: Updates of an epoch.
            **more: The other attributes.
        """
        same = ("minutes", "warmup_steps", "schedule", "patience", "validate_every", "smoothing")
        return cls(
            **{name: getattr(config, name) for name in same},
            steps=None if config.epochs is None else max(1, round(config.epochs * per_epoch)),
            peak=config.learning_rate,
            per_epoch=per_epoch,
            validate_steps=0 if config.epochs is None else _steps_between(per_epoch),
            sample_every=getattr(config, "sample_every", 0),
            **more,
        )


def _steps_between(per_epoch: int) -> int:
    """Updates between validations: some epochs, or an equal part of one; whatever the budget, since that may grow."""
    least, most = _VALIDATE_AFTER
    if per_epoch < least:
        return per_epoch * math.ceil(least / per_epoch)
    return math.ceil(per_epoch / math.ceil(per_epoch / most))


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
        self._validated_step = -1
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
        self._saved = self.state.seconds
        left = (self.plan.steps or 10**9) - self.state.step
        if left > 0 and not self._spent():
            with first_interrupt(self._interrupt):
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
        is_time = state.seconds - self._saved >= plan.validate_every
        if state.step % plan.validate_steps == 0 if plan.validate_steps else is_time:
            self._validate_and_save()
        elif is_time:
            self._save(self._arrays())
        if self.distribution.is_alone:
            self.interrupted |= self._interrupted  # at once: the next update's Ctrl-C would be a second one
        if self.interrupted or self._spent() or (plan.patience and state.since_best >= plan.patience):
            # Before `fit` ends, which puts the averages of weights, where an optimiser keeps them, in their place.
            if self._validated_step != state.step:
                self._end()
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

    def _end(self) -> None:
        """Ctrl-C is a moment of the clock: where updates are the budget, it changes nothing of what comes after."""
        if not (self.interrupted and self.plan.validate_steps):
            self._validate_and_save()
            return
        if (arrays := self._arrays()) is not None:
            if self.state.best is None and self.distribution.is_chief:
                self.keep()
            self._save(arrays)

    def _arrays(self) -> list[np.ndarray] | None:
        """All that a checkpoint holds; None if it is not finite: the next loss says so, the checkpoint before stays."""
        arrays = self.distribution.arrays(self._variables(), self._of_rows())
        return arrays if all(np.isfinite(array).all() for array in arrays) else None

    def _validate_and_save(self) -> None:
        if (arrays := self._arrays()) is None:
            return
        state, figure = self.state, self.distribution.from_chief(self.validate)
        chief, better = self.distribution.is_chief, True
        if figure is not None:
            better = state.best is None or self.console.metric.is_better(figure, state.best)
            state.best, state.since_best = (figure, 0) if better else (state.best, state.since_best + 1)
            if chief:
                named = {f"validation_{self.console.metric.name}": figure}
                self.log.write(step=state.step, seconds=round(state.seconds, 3), **named)
            self.console.validated(state, figure, better)
        if chief and better:
            self.keep()
        self._validated_step = state.step
        self._save(arrays)

    def _save(self, arrays: list[np.ndarray] | None) -> None:
        """Writes a checkpoint; of what is not finite, None, there is none."""
        if arrays is None:
            return
        if self.distribution.is_chief:
            names = [variable.name for variable in self._variables()]
            checkpoint.save(self.path, names, arrays, dataclasses.asdict(self.state))
        self.state.seconds = self._saved = self.distribution.from_chief(lambda: self.told()[0]) or 0.0

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
