"""Options of forecasting: one frozen dataclass for each verb, and the presets of `train`.

A field is an option of the command line, an argument in Python and a key of `config.json`, under one name; the text
below a field is its help.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from rnnapps.config import check_above, check_at_most_one, check_folder_name, check_machine, check_range, check_types
from rnnapps.errors import UsageError
from rnnapps.server.options import ServeModel
from rnnapps.space import SearchOptions

RUN = Path("runs/forecasting")
SHIPPED_MODEL = "etth1"
DEFAULT_PRESET = "quick"
EXAMPLES = (
    ("train --dataset etth1 --preset long", "learn two years of an electricity transformer, 96 hours ahead"),
    ("train --csv sales.csv --target sales --horizon 28 --run runs/sales", "learn your own series"),
    ("evaluate --run runs/sales", "say whether that beats the last value, the last season and a linear model"),
)
_SEED_LIMIT = 2**31 - 1


@dataclass(frozen=True)
class Config:
    """Train a network that forecasts; Ctrl-C keeps the best checkpoint, and --resume goes on from the last one."""

    # Giving one of these options switches off what the preset says for the other.
    ALTERNATIVES: ClassVar = (("minutes", "epochs"),)

    preset: str = DEFAULT_PRESET
    """Named set of values to start from: quick, base, long, probabilistic, covariates, classes, tiny. Others change
    it."""
    run: Path = RUN
    """Folder that the run writes."""
    resume: bool = False
    """Go on with the run in that folder, with its own options; those given here (a longer --minutes) change them."""
    overwrite: bool = False
    """Begin anew in a folder that holds a run, which is lost."""

    dataset: str | None = None
    """Series to learn: seattle_temperatures, seattle_weather, stocks, etth1, etth2, jena_weather, beijing_pm25,
    exchange_rate or mitdb_heart_rate; with classes, ecg5000 or mitdb_beats. Default: seattle_weather."""
    source: Path | None = None
    """Folder with a local copy of the data set, instead of a download."""
    csv: tuple[Path, ...] = ()
    """Your own CSV or Parquet files to learn, instead of a data set."""
    data_dir: Path | None = None
    """Folder that keeps prepared data sets. Default: that of tensorflow-datasets."""
    target: tuple[str, ...] = ()
    """Columns to forecast. Default: those of the data set."""
    label: str | None = None
    """Column that names the class of a row: instead of numbers, learn the class of the row that a window of --history
    rows of the --past columns (default: all numbers) ends with. Best with --preset classes; what concerns the horizon,
    the head and the calendar then says nothing. Default: that of the data set."""
    time: tuple[str, ...] = ()
    """Column of dates and times; a column of dates and one of times of the day; or columns named year, month, day,
    hour. Default: the first column of dates."""
    date_format: str | None = None
    """How dates are written, such as %d/%m/%Y; ISO8601; s, ms, us or ns for counts since 1970; excel for days of a
    spreadsheet. Default: as the whole column says."""
    series: str | None = None
    """Column that names the series of a row. Default: all rows are one series."""
    past: tuple[str, ...] = ()
    """Further columns, which are known up to the forecast."""
    future: tuple[str, ...] = ()
    """Further columns, which are known over the horizon too, such as a price or a holiday."""
    static: tuple[str, ...] = ()
    """Further columns, which have one value for each series."""
    categorical: tuple[str, ...] = ()
    """Those of the further columns that hold names, and no numbers."""
    missing: tuple[str, ...] = ()
    """What stands for a missing value, beside an empty field, NA, NaN and null; such as -9999."""
    decimal: Literal[".", ","] = "."
    """What stands before the decimals of a number."""
    thousands: str | None = None
    """What stands between the thousands of a number, such as a comma. Default: nothing."""
    frequency: str | None = None
    """Time between rows, by pandas' names: 100ms, 10min, h, D, W, B, MS, ME, QE-JAN, YS; or rows, for rows without a
    regular time. Default: as the times say."""
    resample: str | None = None
    """Make one row of all rows of a step of this length, such as 10min: for times that are not regular."""
    aggregate: Literal["mean", "sum", "last"] = "mean"
    """What becomes of the numbers of such rows; names keep the last."""
    season: int | None = None
    """Steps of a season, of the seasonal forecast to beat. Default: a day and a week of hours, a week and a year of
    days, a year of weeks, months or quarters, of those that the training part holds twice."""
    validation_fraction: float | None = None
    """Part of each series, before the test part, that training watches and never learns. Default: 0.1, or as usual;
    up to 0.2 of short series."""
    test_fraction: float | None = None
    """Part at the end of each series that training never sees. Default: 0.2, or as usual."""

    history: int | None = None
    """Steps that a forecast looks back. Default: 96, or fewer where the series are short."""
    horizon: int | None = None
    """Steps that are forecast. Default: 24, or fewer where the series are short."""
    stride: int = 1
    """Steps between two windows of the training part; more than 1 makes an epoch of long series shorter."""
    kind: Literal["auto", "segment", "direct", "attention", "autoregressive"] = "auto"
    """Network: segment reads and writes a few steps at once, each target alone; direct reads all columns step by step;
    attention also reads what is known of the horizon step by step; autoregressive draws each step after the other. auto
    is segment, or direct where there are past columns, several layers, or sizes that --segment does not divide."""
    cell: Literal["gru", "lstm", "simple_rnn"] = "gru"
    """Recurrent cell."""
    units: int = 128
    """Size of each layer's state."""
    layers: int = 1
    """Recurrent layers, 1 to 4; segment has one."""
    segment: int = 12
    """Steps of a segment; divides --history and --horizon."""
    dropout: float = 0.2
    """Probability of dropping a value before the last layer while training."""
    normalize: Literal["series", "window", "last"] = "last"
    """What a window is scaled by: mean and deviation of its series, or of itself; last takes its last value as zero."""
    calendar: bool = True
    """Read the time of the day, the week and the year, of those that the training part holds twice."""
    linear: bool = True
    """Begin with the best linear map from the scaled window, to which the network adds; autoregressive does not."""
    head: Literal["quantiles", "normal", "student_t", "negative_binomial", "mixture", "mae", "mse", "huber"] = (
        "quantiles"
    )
    """What is forecast: quantiles, a distribution, or one number that is least wrong by mae, mse or huber."""
    calibrate: bool = True
    """Move the quantiles so that they hold on the validation part; one number gets bands that way."""

    batch_size: int = 64
    """Windows of an update."""
    optimizer: Literal["adam", "adamw", "rmsprop", "adagrad"] = "adam"
    """How gradients change the weights."""
    learning_rate: float = 0.001
    """Its highest value."""
    weight_decay: float = 0.0
    """Pull of the weights to zero, for adamw."""
    average: float = 0.0
    """Keep a moving average of the weights, where the past has this weight, such as 0.99; 0 keeps the weights."""
    smoothing: float = 0.99
    """Weight of the past in the moving average of the loss that is shown."""
    clip: Literal["none", "value", "norm", "global_norm"] = "global_norm"
    """How gradients that are too large are cut."""
    clip_at: float = 1.0
    """What is too large."""
    warmup_steps: int = 20
    """Updates in which the learning rate grows from zero."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Learning rate after the warm-up; cosine falls towards zero at the end of the budget."""

    minutes: float | None = None
    """Budget: minutes of training. With --epochs, the first to be spent ends the run; with neither, Ctrl-C does."""
    epochs: float | None = None
    """Budget: times through all windows of the training part; 0.5 is half of them."""
    patience: int = 0
    """Stop after this many validations without a better one; 0 never does."""
    validate_every: float = 10.0
    """Seconds between validations, each with a checkpoint; with --epochs, between checkpoints: validations are then at
    updates, some hundred apart, so that the same budget gives the same model."""

    precision: Literal["auto", "float32", "mixed_bfloat16"] = "float32"
    """Type of the numbers in the matrix products; auto takes bfloat16 where the processor multiplies it faster."""
    threads: int = 0
    """Processor threads; 0 takes all cores."""
    strategy: Literal["none", "mirrored", "multiworker"] = "none"
    """Share each batch: among devices of this machine, or among processes, as the variable TF_CONFIG says."""
    replicas: int = 0
    """Devices of --strategy mirrored; 0 takes all GPUs. Without a GPU: parts of the processor."""
    data_service: str | None = None
    """Address of a tf.data service that sends the batches, as python -m rnnapps.data_service prints it; an epoch is
    written into the run's folder, which its workers must see. Every epoch is then in the order of the first."""
    check_gpu: bool = False
    """End at once where no GPU is seen, so that nothing runs on the processor by mistake."""
    seed: int = 0
    """Seed of the weights, of dropout and of the order of windows."""

    def __post_init__(self) -> None:
        check_types(self)
        check_machine(self)
        check_at_most_one(self, "target", "label")
        check_at_most_one(self, "dataset", "csv")
        check_at_most_one(self, "source", "csv")
        for name in ("history", "horizon", "season", "stride", "units", "segment", "batch_size"):
            check_range(self, name, 1)
        for name in ("weight_decay", "warmup_steps", "patience", "threads"):
            check_range(self, name, 0)
        for name in ("learning_rate", "clip_at", "minutes", "epochs", "validate_every"):
            check_above(self, name, 0)
        for name in ("validation_fraction", "test_fraction"):
            check_range(self, name, 0, 0.5)
        check_range(self, "layers", 1, 4)
        check_range(self, "dropout", 0, 0.95)
        for name in ("average", "smoothing"):
            check_range(self, name, 0, 0.9999)
        check_range(self, "seed", 0, _SEED_LIMIT)
        if self.thousands is not None and (len(self.thousands) != 1 or self.thousands in (self.decimal, "-", "+")):
            raise UsageError(
                f"--thousands {self.thousands!r}: wanted one character, other than --decimal {self.decimal}"
            )
        if self.date_format is not None:
            from rnnapps.data import date_formats  # Only now: pandas takes a while to import, and --help is quick.

            date_formats.check(self.date_format)
        if self.resample == "rows" or (self.resample is not None and self.frequency not in (None, self.resample)):
            raise UsageError(f"--resample {self.resample} with --frequency {self.frequency}: wanted --resample alone")
        if self.csv and not self.target and self.label is None:
            raise UsageError("--csv without --target: wanted the name of the column to forecast, or --label")
        if self.weight_decay and self.optimizer != "adamw":
            raise UsageError(f"--weight-decay with --optimizer {self.optimizer}: wanted --optimizer adamw")
        if self.label is None:
            self._check_forecast()
        elif self.kind not in ("auto", "segment", "direct"):
            raise UsageError(f"--kind {self.kind} with --label {self.label}: wanted auto")
        elif self.future:
            raise UsageError(f"--future {self.future[0]} with --label {self.label}: wanted --past, as no step is ahead")

    def _check_forecast(self) -> None:
        if self.kind == "segment" and ((self.history or 96) % self.segment or (self.horizon or 24) % self.segment):
            sizes = f"--history {self.history or 96} and --horizon {self.horizon or 24}"
            raise UsageError(f"--segment {self.segment} with {sizes}: wanted a divisor of both")
        if self.kind == "segment" and self.layers > 1:
            raise UsageError(f"--layers {self.layers} with --kind segment: wanted 1")
        if self.kind == "autoregressive" and self.head not in ("normal", "student_t", "negative_binomial", "mixture"):
            raise UsageError(
                f"--head {self.head} with --kind autoregressive: wanted a distribution to draw from, normal, "
                "student_t, negative_binomial or mixture"
            )
        if self.kind in ("segment", "autoregressive") and self.past:
            raise UsageError(
                f"--past {self.past[0]} with --kind {self.kind}, which reads no covariates of the past: wanted --kind "
                "direct or attention"
            )


PRESETS: dict[str, Config] = {
    "quick": Config(minutes=1, epochs=30, patience=10),
    "base": Config(preset="base", units=256, dropout=0.3, batch_size=128, minutes=5, patience=20),
    # SegRNN (Lin et al., 2023) at a size for a laptop.
    "long": Config(
        preset="long", kind="segment", horizon=96, segment=24, units=256, dropout=0.5, calendar=False, linear=False,
        head="huber", batch_size=256, epochs=20, average=0.99,
    ),
    "probabilistic": Config(
        preset="probabilistic", kind="direct", cell="lstm", units=64, head="student_t", normalize="window", minutes=3,
    ),
    "covariates": Config(preset="covariates", kind="attention", units=64, batch_size=32, minutes=3, patience=10),
    "classes": Config(
        preset="classes", units=64, segment=4, dropout=0.3, learning_rate=0.003, average=0.98, minutes=1, epochs=200,
        patience=10, validate_every=3.0,
    ),
    # Seconds on any machine: for a first look, and for tests.
    "tiny": Config(
        preset="tiny", kind="segment", history=12, horizon=6, segment=3, units=8, batch_size=16, epochs=1,
        validate_every=2.0,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Evaluate:
    """Score a run on a part of its series, beside the last value, the last season, a line and a linear model."""

    run: Path = RUN
    """Run folder of the model to score."""
    split: Literal["validation", "test"] = "test"
    """Part of the series that is scored."""
    every: int = 1
    """Steps between the moments of two forecasts: 1 scores every window."""
    by_step: bool = False
    """Also print a line for each step of the horizon."""
    by_target: bool = False
    """Also print a line for each target."""
    json: bool = False
    """Print one JSON object instead of tables."""

    def __post_init__(self) -> None:
        check_types(self)
        check_range(self, "every", 1)


@dataclass(frozen=True)
class Predict:
    """Forecast the steps after the end of a run's series, or of your own file with the columns that a model learnt."""

    run: Path | None = None
    """Run folder of the model that forecasts. Default: the run in runs/forecasting, or else the shipped model."""
    model: Path | None = None
    """Exported SavedModel that forecasts, instead of a run."""
    csv: tuple[Path, ...] = ()
    """CSV or Parquet files to go on from, with the columns that the model learnt; of two, one may hold only what is
    known of the future. Default: the run's own series."""
    date_format: str | None = None
    """How their dates are written, as of train. Default: as those that the model learnt, where that fits all rows."""
    samples: int = 0
    """Print so many futures instead of means and quantiles; of a model of the kind autoregressive, which draws them."""
    seed: int = 0
    """Seed of those: one seed, the same futures."""
    output: Path | None = None
    """CSV file to write, instead of standard output."""
    json: bool = False
    """Print one JSON object a series, a line each."""
    plot: Path | None = None
    """Picture to write: .png, .svg or .pdf."""

    def __post_init__(self) -> None:
        check_types(self)
        check_at_most_one(self, "run", "model")
        check_range(self, "samples", 0)
        check_range(self, "seed", 0, _SEED_LIMIT)
        if self.json and self.output is not None:
            raise UsageError("--json with --output: wanted only one of them")
        if self.plot is not None and self.plot.suffix.lower() not in (".png", ".svg", ".pdf"):
            raise UsageError(f"--plot {self.plot}: wanted a name that ends with one of .png, .svg, .pdf")


@dataclass(frozen=True)
class Export:
    """Write a SavedModel for TensorFlow Serving: OUTPUT/NAME/VERSION, at the next free version."""

    run: Path = RUN
    """Run folder of the model to export."""
    output: Path = Path("saved_models")
    """Folder of all exported models."""
    name: str | None = None
    """Name of the model. Default: the name of what it learnt."""
    xla: bool = False
    """Write also NAME_xla, whose functions XLA compiles: faster, in a server that is started with
    --xla_cpu_compilation_enabled=true."""

    def __post_init__(self) -> None:
        check_types(self)
        check_folder_name(self, "name")


@dataclass(frozen=True)
class Serve(ServeModel):
    __doc__ = ServeModel.__doc__

    SHIPPED: ClassVar[str] = SHIPPED_MODEL


@dataclass(frozen=True)
class Tune(SearchOptions, Config):
    """Search for options that train a better model: each trial is a run of `train`, in a folder of its own."""

    run: Path = Path("runs/forecasting_tune")
    """Folder of all trials."""
