"""Options of text generation: one frozen dataclass for each verb, and the presets of `train`.

A field is an option of the command line, an argument in Python and a key of `config.json`, under one name; the text
below a field is its help.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar, Literal

from rnnapps.config import check_above, check_at_most_one, check_folder_name, check_machine, check_range, check_types
from rnnapps.errors import UsageError
from rnnapps.server.options import ServeModel
from rnnapps.space import SearchOptions

RUN = Path("runs/text_generation")
SHIPPED_MODEL = "shakespeare"
DEFAULT_PRESET = "quick"
EXAMPLES = (
    ("train --minutes 3", "learn the source text of Python's standard library, on any laptop"),
    ('predict --prompt "ROMEO:" --temperature 0.8', "write Shakespeare with the model that is shipped"),
    ("train --text my_notes.txt --run runs/notes", "learn your own text; then: predict --run runs/notes"),
)
_SEED_LIMIT = 2**31 - 1


@dataclass(frozen=True)
class Config:
    """Train a network that writes text; Ctrl-C keeps the best checkpoint, and --resume goes on from the last one."""

    # Giving one of these options switches off what the preset says for the other.
    ALTERNATIVES: ClassVar = (("minutes", "epochs"),)

    preset: str = DEFAULT_PRESET
    """Named set of values to start from: quick, min-char-rnn, char-rnn, small, base, large, tiny. Others change it."""
    run: Path = RUN
    """Folder that the run writes."""
    resume: bool = False
    """Go on with the run in that folder, with its own options; those given here (a longer --minutes) change them."""
    overwrite: bool = False
    """Begin anew in a folder that holds a run, which is lost."""

    dataset: str | None = None
    """Text to learn: python_source, tiny_shakespeare, war_and_peace or linux_kernel. Default: python_source."""
    source: Path | None = None
    """Folder with a local copy of the data set, instead of a download."""
    text: tuple[Path, ...] = ()
    """Your own UTF-8 text files to learn, instead of a data set."""
    data_dir: Path | None = None
    """Folder that keeps prepared data sets. Default: that of tensorflow-datasets."""
    validation_fraction: float | None = None
    """Part of the text, before the test part, that training watches and never learns. Default: 0.02, and 0 for
    tiny_shakespeare, whose usual split has none."""
    test_fraction: float = 0.1
    """Part at the end of the text that training never sees."""

    tokens: Literal["char", "byte", "word"] = "char"
    """What one step of the network reads and writes."""
    max_vocabulary: int = 10_000
    """The most frequent tokens that are learnt; all others are one token, "unseen"."""

    cell: Literal["lstm", "gru", "simple_rnn"] = "lstm"
    """Recurrent cell."""
    units: int = 384
    """Size of each layer's state."""
    layers: int = 1
    """Recurrent layers, 1 to 4."""
    embedding: int = 0
    """Size of the learnt vector of a token; 0 feeds the token one-hot."""
    dropout: float = 0.0
    """Probability of dropping a value between layers while training."""
    weight_scale: float | None = None
    """Standard deviation of normal initial weights. Default: Glorot-uniform and orthogonal ones."""
    tied: bool = False
    """Use the embedding also as output weights; wants --embedding equal to --units."""

    batch_size: int = 24
    """Streams of text that are read side by side."""
    steps: int = 60
    """Tokens in a window; gradients reach back this far, the state goes on."""
    cold_starts: float = 0.02
    """Share of the windows that begin from nothing, as every prompt and every document does."""
    optimizer: Literal["adam", "adamw", "rmsprop", "adagrad"] = "adam"
    """How gradients change the weights."""
    learning_rate: float = 0.006
    """Its highest value."""
    weight_decay: float = 0.0
    """Pull of the weights to zero, for adamw."""
    loss: Literal["mean", "sum"] = "mean"
    """Whether the loss of a window is the mean or the sum over its tokens."""
    smoothing: float = 0.99
    """Weight of the past in the moving average of the loss that is shown."""
    clip: Literal["none", "value", "norm", "global_norm"] = "global_norm"
    """How gradients that are too large are cut."""
    clip_at: float = 1.0
    """What is too large."""
    warmup_steps: int = 100
    """Updates in which the learning rate grows from zero."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Learning rate after the warm-up; cosine falls towards zero at the end of the budget."""

    minutes: float | None = None
    """Budget: minutes of training. With --epochs, the first to be spent ends the run; with neither, Ctrl-C does."""
    epochs: float | None = None
    """Budget: times through the training text; 0.5 is half of it."""
    patience: int = 0
    """Stop after this many validations without a better one; 0 never does."""
    validate_every: float = 30.0
    """Seconds between validations, each with a checkpoint; with --epochs, between checkpoints: validations are then at
    updates, some hundred apart, so that the same budget gives the same model."""

    precision: Literal["auto", "float32", "mixed_bfloat16"] = "auto"
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
    """Seed of the weights, of dropout and of the samples."""
    sample_every: int = 500
    """Updates between samples of what the network writes; 0 shows none."""
    sample_length: int = 200
    """Tokens in such a sample."""

    def __post_init__(self) -> None:
        check_types(self)
        check_machine(self)
        check_at_most_one(self, "dataset", "text")
        check_at_most_one(self, "source", "text")
        for name in ("max_vocabulary", "units", "batch_size", "steps", "sample_length"):
            check_range(self, name, 1)
        for name in ("embedding", "weight_decay", "warmup_steps", "patience", "threads", "sample_every"):
            check_range(self, name, 0)
        for name in ("weight_scale", "learning_rate", "clip_at", "minutes", "epochs", "validate_every"):
            check_above(self, name, 0)
        for name in ("validation_fraction", "test_fraction"):
            check_range(self, name, 0, 0.5)
        check_range(self, "layers", 1, 4)
        check_range(self, "dropout", 0, 0.95)
        check_range(self, "cold_starts", 0, 1)
        check_range(self, "smoothing", 0, 0.9999)
        check_range(self, "seed", 0, _SEED_LIMIT)
        if self.tied and self.embedding != self.units:
            raise UsageError(f"--tied with --embedding {self.embedding} and --units {self.units}: wanted equal sizes")
        if self.weight_decay and self.optimizer != "adamw":
            raise UsageError(f"--weight-decay with --optimizer {self.optimizer}: wanted --optimizer adamw")


_PLAIN = Config(minutes=3, precision="float32")
PRESETS: dict[str, Config] = {
    "quick": Config(minutes=3, dropout=0.3),
    # Karpathy's 112-line NumPy program; its window, optimiser, clipping and rhythm of samples.
    "min-char-rnn": replace(
        _PLAIN,
        preset="min-char-rnn", cell="simple_rnn", units=100, batch_size=1, steps=25,
        optimizer="adagrad", learning_rate=0.1, clip="value", clip_at=5.0, warmup_steps=0, schedule="constant",
        weight_scale=0.01, loss="sum", smoothing=0.999, sample_every=100, cold_starts=0.0,
    ),
    # Karpathy's Torch program at its defaults.
    "char-rnn": replace(
        _PLAIN,
        preset="char-rnn", units=128, layers=2, batch_size=50, steps=50,
        optimizer="rmsprop", learning_rate=0.002, clip="value", clip_at=5.0, warmup_steps=0, schedule="constant",
        minutes=10, epochs=50, cold_starts=0.0,
    ),
    # Small enough for one core's cache, so it writes some 20 times as fast as "large".
    "small": Config(
        preset="small", units=128, layers=3, batch_size=32, steps=80, dropout=0.15, minutes=20, validate_every=60.0,
    ),
    "base": Config(
        preset="base", units=512, layers=1, batch_size=32, steps=100, learning_rate=0.004, dropout=0.2, minutes=15,
    ),
    "large": Config(
        preset="large", units=512, layers=2, batch_size=48, steps=80, learning_rate=0.003, warmup_steps=200,
        dropout=0.5, minutes=35, validate_every=120.0, sample_every=1000,
    ),
    # Seconds on any machine: for a first look, and for tests.
    "tiny": replace(
        _PLAIN,
        preset="tiny", units=16, batch_size=4, steps=16, learning_rate=0.02, warmup_steps=5, minutes=0.1,
        validate_every=2.0, sample_every=50, sample_length=50,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Evaluate:
    """Score a model on a part of its data set or on your own text, in nats and bits per token, beside baselines."""

    run: Path | None = None
    """Run folder of the model to score. Default: runs/text_generation."""
    model: Path | None = None
    """Exported SavedModel to score, instead of a run."""
    split: Literal["train", "validation", "test"] = "test"
    """Part of the data set that is scored."""
    text: tuple[Path, ...] = ()
    """Your own UTF-8 text files to score, each from a cold start, instead of the data set."""
    json: bool = False
    """Print one JSON object instead of a table."""

    def __post_init__(self) -> None:
        check_types(self)
        check_at_most_one(self, "run", "model")


@dataclass(frozen=True)
class Predict:
    """Write text that goes on from a prompt."""

    prompt: str = ""
    """Text to go on from; empty starts a text from nothing."""
    file: Path | None = None
    """UTF-8 file of prompts, one a line, instead of --prompt."""
    run: Path | None = None
    """Run folder whose model writes. Default: the run that is in runs/text_generation, or else the shipped model."""
    model: Path | None = None
    """Exported SavedModel that writes, instead of a run."""
    length: int = 500
    """Tokens to write after the prompt."""
    num_samples: int = 1
    """Texts to write for each prompt."""
    temperature: float = 0.8
    """Daring: 1 draws as the network learnt, less is safer, 0 is --greedy."""
    top_k: int = 0
    """Draw only from the k most likely tokens; 0 from all."""
    top_p: float = 1.0
    """Draw only from the likeliest tokens that together have this probability; 1 from all."""
    min_p: float = 0.0
    """Draw only from tokens at least this probable, relative to the likeliest; 0 from all."""
    repetition_penalty: float = 1.0
    """Make tokens that were already written less likely: more than 1; 1 does not."""
    greedy: bool = False
    """Always write the likeliest token."""
    stop: str | None = None
    """End a text before this text appears in it."""
    seed: int | None = None
    """One seed, one text. Default: a new seed every time."""
    stream: bool = False
    """Print the text while it is being written."""
    json: bool = False
    """Print one JSON object a text, a line each."""
    show_neurons: Path | None = None
    """Write an HTML page that colours the text by what hidden units did."""
    units: tuple[int, ...] = ()
    """The hidden units of the last layer on that page, counted from 0. Default: the liveliest."""

    def __post_init__(self) -> None:
        check_types(self)
        check_at_most_one(self, "prompt", "file")
        check_at_most_one(self, "run", "model")
        for name in ("length", "num_samples"):
            check_range(self, name, 1)
        for name in ("temperature", "top_k"):
            check_range(self, name, 0)
        check_above(self, "top_p", 0, 1)
        check_range(self, "min_p", 0, 1)
        check_above(self, "repetition_penalty", 0)
        check_range(self, "seed", 0, _SEED_LIMIT)
        if self.stop == "":
            raise UsageError("--stop '': wanted at least one character")
        if self.stream and (self.json or self.file is not None or self.num_samples > 1):
            raise UsageError("--stream writes one text as it grows: wanted without --json, --file and --num-samples")
        if self.units and self.show_neurons is None:
            raise UsageError("--units chooses what --show-neurons colours: wanted --show-neurons FILE.html as well")
        if any(unit < 0 for unit in self.units):
            raise UsageError(f"--units {min(self.units)}: wanted 0 or more")


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

    run: Path = Path("runs/text_generation_tune")
    """Folder of all trials."""
