"""What a run learns of its series: the values of the next steps, or the class of each window."""

from typing import Any, Protocol

import keras

from rnnapps.data.panel import Panel
from rnnapps.forecasting.classification import Classification
from rnnapps.forecasting.config import Config, Evaluate
from rnnapps.forecasting.forecast import Forecast
from rnnapps.serving.endpoints import Endpoints
from rnnapps.training.metric import Metric
from rnnapps.training.run import Run


class Goal(Protocol):
    """What the verbs of the task ask of either kind of run.

    Attributes:
        metric: What training is judged by.
        config, panel: What is learnt, and of what.
    """

    metric: Metric
    config: Config
    panel: Panel

    def count(self, part: str) -> int:
        """The windows of a part; raises UsageError where there is none."""

    def windows(self, part: str, batch_size: int, **order: Any) -> Any:
        """Batches `(inputs, targets)`; `order` as in `rnnapps.data.series.windows`."""

    def network(self, dtype: str = "float32") -> keras.Model:
        """A new network, which knows the scales of the training part."""

    def start(self, network: keras.Model) -> None:
        """Gives a new network a better start than random weights, where there is one."""

    def loss(self, network: keras.Model, inputs: Any, targets: Any, training: bool = False) -> Any:
        """The mean over the targets that are there."""

    def complete(self, run: Run, model: keras.Model) -> list[str]:
        """Measures what else a trained model needs, and saves it in the run; sentences of what a person should know."""

    def judged(self, run: Run, model: keras.Model) -> tuple[dict[str, Any], str]:
        """Figures of the test part, and a sentence that says whether they are any good."""

    def evaluate(self, run: Run, options: Evaluate) -> dict[str, Any]:
        """Prints and returns the scores of a part beside those of the simple answers."""

    def endpoints(self, run: Run, xla: bool = False) -> Endpoints:
        """What an export serves, with `xla` compiled."""

    def manifest(self) -> dict[str, Any]:
        """What an export says of its columns."""


def goal_of(config: Config, panel: Panel) -> Goal:
    """What a config wants to learn of its series."""
    return Forecast(config, panel) if config.label is None else Classification(config, panel)
