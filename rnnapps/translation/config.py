"""Options of translation: one frozen dataclass for each verb, and the presets of `train`.

A field is an option of the command line, an argument in Python and a key of `config.json`, under one name; the text
below a field is its help.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from rnnapps.config import check_above, check_at_most_one, check_machine, check_range, check_types
from rnnapps.errors import UsageError
from rnnapps.server.options import ServeModel
from rnnapps.space import SearchOptions
from rnnapps.translation.verbs import RUN, SEED_LIMIT, Evaluate, Export, Predict

__all__ = [
    "DEFAULT_PRESET",
    "EXAMPLES",
    "PRESETS",
    "RUN",
    "SHIPPED_MODEL",
    "Config",
    "Evaluate",
    "Export",
    "Predict",
    "Serve",
    "Tune",
]

SHIPPED_MODEL = "multi30k_en_de"
DEFAULT_PRESET = "quick"
EXAMPLES = (
    ("train", "learn to write out English dates and numbers in German, in three minutes"),
    ('predict --sentence "A dog runs on the beach."', "translate with the model that is shipped"),
    ("train --pairs mine.tsv --preset base --run runs/mine", "learn your own sentence pairs"),
)


@dataclass(frozen=True)
class Config:
    """Train a network that translates; Ctrl-C keeps the best checkpoint, and --resume goes on from the last one."""

    # Giving one of these options switches off what the preset says for the other.
    ALTERNATIVES: ClassVar = (("minutes", "epochs"), ("batch_size", "batch_tokens"))

    preset: str = DEFAULT_PRESET
    """Named set of values to start from: quick, base, large, tiny. Others change it."""
    run: Path = RUN
    """Folder that the run writes."""
    resume: bool = False
    """Go on with the run in that folder, with its own options; those given here (a longer --minutes) change them."""
    overwrite: bool = False
    """Begin anew in a folder that holds a run, which is lost."""

    dataset: str | None = None
    """Pairs to learn: dates, multi30k or tatoeba. Default: dates."""
    source: Path | None = None
    """Folder with a local copy of the data set, instead of a download."""
    pairs: tuple[Path, ...] = ()
    """Your own files to learn, instead of a data set: UTF-8, a sentence, a tab and its translation a line."""
    validation: tuple[Path, ...] = ()
    """Files of the same form that training watches. Default: a part of --pairs."""
    test: tuple[Path, ...] = ()
    """Files of the same form that training never sees. Default: a part of --pairs."""
    aligned: bool = False
    """--pairs, --validation and --test each name two files, whose lines belong together."""
    languages: tuple[str, ...] = ()
    """From and to: two of en, de, fr for multi30k, en and fr either way for tatoeba, any two locales such as en and
    pt_BR for dates. Default: en de, or en fr."""
    data_dir: Path | None = None
    """Folder that keeps prepared data sets. Default: that of tensorflow-datasets."""
    validation_fraction: float = 0.01
    """Part of the source sentences that training watches and never learns, where the data set has no such part."""
    test_fraction: float = 0.01
    """Part of the source sentences that training never sees, where the data set has no such part."""

    tokens: Literal["subword", "word", "char"] = "subword"
    """What one step of the network reads and writes; subword is byte-pair encoding."""
    max_vocabulary: int = 8_000
    """Tokens that are learnt; others are one token, "unseen"."""
    joint: bool = True
    """Both languages have one vocabulary and one embedding."""
    lowercase: bool = False
    """Read and write small letters only."""
    max_length: int = 100
    """Pairs with more tokens on a side are not learnt, and no translation is longer."""

    cell: Literal[
        "gru", "lstm", "simple_rnn", "layer_norm_lstm", "layer_norm_gru", "peephole_lstm", "coupled_lstm", "ugrnn",
        "min_gru", "sru",
    ] = "gru"  # fmt: skip
    """Recurrent cell."""
    units: int = 256
    """Size of each layer's state, in the encoder for each direction."""
    layers: int = 1
    """Recurrent layers of the encoder and of the decoder, 1 to 4."""
    embedding: int = 256
    """Size of the learnt vector of a token."""
    score: Literal["additive", "dot", "general", "scaled"] = "additive"
    """How attention compares a state with a place of the source; dot and scaled halve the encoder's units."""
    input_feeding: bool = True
    """The decoder also reads what it attended to at the step before."""
    coverage: bool = False
    """Attention knows how much it looked at each place before; with additive scores."""
    bridge: Literal["last", "mean", "zero"] = "last"
    """What the decoder starts from: the encoder's last states, the mean of its outputs, or nothing."""
    tied: bool = True
    """Use the target embedding also as output weights."""
    dropout: float = 0.2
    """Probability of dropping a value of embeddings, between layers and before the output, while training."""
    locked: bool = False
    """Drop the same values at all steps of a sentence."""
    recurrent_dropout: float = 0.0
    """Probability of dropping a value of the state on its way to the next step; the same at all steps."""

    batch_size: int | None = 80
    """Pairs of an update."""
    batch_tokens: int | None = None
    """Tokens of an update, the longer side and padding counted, instead of --batch-size."""
    accumulate: int = 1
    """Batches whose gradients are added up before the weights change."""
    optimizer: Literal["adam", "adamw", "rmsprop", "adagrad"] = "adam"
    """How gradients change the weights."""
    learning_rate: float = 0.001
    """Its highest value."""
    weight_decay: float = 0.0
    """Pull of the weights to zero, for adamw."""
    average: float = 0.0
    """Keep a moving average of the weights, where the past has this weight, such as 0.999; 0 keeps the weights."""
    label_smoothing: float = 0.1
    """Part of the target's probability that is spread over all tokens."""
    scheduled_sampling: float = 0.0
    """Probability with which the decoder reads, while training, its own guess in the place of the right token; it
    grows to this value over the run."""
    smoothing: float = 0.99
    """Weight of the past in the moving average of the loss that is shown."""
    clip: Literal["none", "value", "norm", "global_norm"] = "global_norm"
    """How gradients that are too large are cut."""
    clip_at: float = 1.0
    """What is too large."""
    warmup_steps: int = 200
    """Updates in which the learning rate grows from zero."""
    schedule: Literal["constant", "cosine"] = "cosine"
    """Learning rate after the warm-up; cosine falls towards zero at the end of the budget."""
    best: Literal["loss", "bleu"] = "loss"
    """What the best checkpoint is chosen by: nats a token, or BLEU of greedy translations, of the validation part."""

    minutes: float | None = None
    """Budget: minutes of training. With --epochs, the first to be spent ends the run; with neither, Ctrl-C does."""
    epochs: float | None = None
    """Budget: times through the training pairs; 0.5 is half of them."""
    patience: int = 0
    """Stop after this many validations without a better one; 0 never does."""
    validate_every: float = 60.0
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
    """Seed of the weights, of dropout and of the order of pairs."""
    sample_every: int = 500
    """Updates between translations of a validation sentence that are shown; 0 shows none."""

    def __post_init__(self) -> None:
        check_types(self)
        check_machine(self)
        check_at_most_one(self, "dataset", "pairs")
        check_at_most_one(self, "source", "pairs")
        check_at_most_one(self, "batch_size", "batch_tokens")
        for name in ("units", "embedding", "batch_size", "batch_tokens", "accumulate", "max_length"):
            check_range(self, name, 1)
        for name in ("weight_decay", "warmup_steps", "patience", "threads", "sample_every"):
            check_range(self, name, 0)
        for name in ("learning_rate", "clip_at", "minutes", "epochs", "validate_every"):
            check_above(self, name, 0)
        for name in ("validation_fraction", "test_fraction"):
            check_range(self, name, 0, 0.5)
        for name in ("dropout", "recurrent_dropout", "label_smoothing"):
            check_range(self, name, 0, 0.95)
        check_range(self, "max_vocabulary", 10)
        check_range(self, "layers", 1, 4)
        check_range(self, "scheduled_sampling", 0, 1)
        check_range(self, "smoothing", 0, 0.9999)
        check_range(self, "average", 0, 0.99999)
        check_range(self, "seed", 0, SEED_LIMIT)
        self._check_combinations()

    def _check_combinations(self) -> None:
        if self.batch_size is None and self.batch_tokens is None:
            raise UsageError("--batch-size and --batch-tokens are both missing: wanted one of them")
        if self.weight_decay and self.optimizer != "adamw":
            raise UsageError(f"--weight-decay with --optimizer {self.optimizer}: wanted --optimizer adamw")
        if self.coverage and self.score != "additive":
            raise UsageError(f"--coverage with --score {self.score}: wanted --score additive")
        if self.languages and len(self.languages) != 2:
            raise UsageError(f"--languages {' '.join(self.languages)}: wanted two, from and to")
        if self.score in ("dot", "scaled") and self.units % 2:
            raise UsageError(f"--units {self.units} with --score {self.score}: wanted an even number")
        for name in ("validation", "test"):
            if getattr(self, name) and not self.pairs:
                raise UsageError(f"--{name} without --pairs: wanted the pairs to learn as well")
        if self.aligned and not self.pairs:
            raise UsageError("--aligned without --pairs: wanted two files")


PRESETS: dict[str, Config] = {
    "quick": Config(
        units=128, embedding=128, max_vocabulary=1_000, batch_size=64, learning_rate=0.002, label_smoothing=0.0,
        dropout=0.1, minutes=3, validate_every=20.0, sample_every=200,
    ),
    "base": Config(preset="base", dropout=0.4, average=0.999, batch_size=64, epochs=30, validate_every=120.0),
    "large": Config(
        preset="large", units=512, embedding=512, layers=2, dropout=0.4, average=0.999, batch_size=64, epochs=30,
        validate_every=300.0,
    ),
    # Bahdanau et al. at a size for a laptop: what other toolkits are timed with.
    "benchmark": Config(preset="benchmark", epochs=1, dropout=0.2, label_smoothing=0.0),
    # Seconds on any machine: for a first look, and for tests.
    "tiny": Config(
        preset="tiny", units=16, embedding=16, max_vocabulary=120, batch_size=16, epochs=0.2, warmup_steps=5,
        learning_rate=0.01, dropout=0.0, label_smoothing=0.0, validate_every=5.0, sample_every=0,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Serve(ServeModel):
    __doc__ = ServeModel.__doc__

    SHIPPED: ClassVar[str] = SHIPPED_MODEL


@dataclass(frozen=True)
class Tune(SearchOptions, Config):
    """Search for options that train a better model: each trial is a run of `train`, in a folder of its own."""

    run: Path = Path("runs/translation_tune")
    """Folder of all trials."""
