"""Options of captioning: one frozen dataclass for each verb, and the presets of `train`.

A field is an option of the command line, an argument in Python and a key of `config.json`, under one name; the text
below a field is its help.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

from rnnapps.captioning.verbs import RUN, SEED_LIMIT, Evaluate, Export, Predict
from rnnapps.config import check_above, check_at_most_one, check_machine, check_range, check_types
from rnnapps.errors import UsageError
from rnnapps.server.options import ServeModel
from rnnapps.space import SearchOptions

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

SHIPPED_MODEL = "flickr8k"
DEFAULT_PRESET = "quick"
EXAMPLES = (
    ("train", "learn to describe drawn scenes of coloured shapes, in three minutes"),
    ("predict --image photo.jpg --show-attention words.png", "caption a picture with the model that is shipped"),
    ("train --images photos --captions captions.tsv --preset base --run runs/mine", "learn your own pictures"),
)
FROM_SCRATCH = "cnn"


@dataclass(frozen=True)
class Config:
    """Train a network that describes pictures; Ctrl-C keeps the best checkpoint, and --resume goes on from the last."""

    # Giving one of these options switches off what the preset says for the other.
    ALTERNATIVES: ClassVar = (("minutes", "epochs"),)

    preset: str = DEFAULT_PRESET
    """Named set of values to start from: quick, base, large, tiny. Others change it."""
    run: Path = RUN
    """Folder that the run writes."""
    resume: bool = False
    """Go on with the run in that folder, with its own options; those given here (a longer --minutes) change them."""
    overwrite: bool = False
    """Begin anew in a folder that holds a run, which is lost."""
    start_from: Path | None = None
    """Run folder whose vocabulary and weights are the start, such as that of a frozen encoder before --fine-tune."""

    dataset: str | None = None
    """Captioned pictures to learn: scenes, flickr8k or coco_captions. Default: scenes."""
    source: Path | None = None
    """Folder with a local copy of the data set, instead of a download."""
    images: Path | None = None
    """Your own pictures to learn, instead of a data set: a folder. Goes with --captions."""
    captions: Path | None = None
    """Their captions: lines of a file name, a tab and a caption; a CSV table with the columns image and caption; JSON
    as of COCO or of Karpathy's splits; metadata.jsonl; or lines as of Flickr8k."""
    data_dir: Path | None = None
    """Folder that keeps prepared data sets. Default: that of tensorflow-datasets."""
    features_dir: Path | None = None
    """Folder that keeps what a frozen encoder has seen in pictures, for other runs. Default: in the run's folder."""
    validation_fraction: float = 0.05
    """Part of the pictures that training watches and never learns, where the data set has no such part."""
    test_fraction: float = 0.05
    """Part of the pictures that training never sees, where the data set has no such part."""

    tokens: Literal["subword", "word", "char"] = "word"
    """What one step of the network writes; subword is byte-pair encoding."""
    max_vocabulary: int = 4_000
    """Tokens that are learnt; others are one token, "unseen", which is never written."""
    min_count: int = 5
    """How often a word or character stands in the captions at least, to be learnt."""
    lowercase: bool = True
    """Read and write small letters only."""
    max_length: int = 40
    """Captions with more tokens are not learnt, and none is longer."""

    encoder: str = "efficientnet_lite0"
    """What sees the picture: efficientnet_lite0, a model of keras.applications such as MobileNetV2, or cnn, a small one
    that is trained with the rest."""
    image_size: int = 224
    """Rows and columns that pictures are scaled to."""
    fine_tune: bool = False
    """Train a pre-trained encoder too, which takes far longer; first train with it frozen, then --start-from that."""
    flip: bool = False
    """Also learn pictures mirrored left to right; not where captions say "left"."""
    attention: Literal["soft", "adaptive", "merge", "inject"] = "soft"
    """How the decoder sees the picture: at every step, a place of it (soft), or no place (adaptive); after it, as a
    whole (merge); or before it (inject)."""
    cell: Literal[
        "gru", "lstm", "simple_rnn", "layer_norm_lstm", "layer_norm_gru", "peephole_lstm", "coupled_lstm", "ugrnn",
        "min_gru", "sru",
    ] = "lstm"  # fmt: skip
    """Recurrent cell."""
    units: int = 512
    """Size of each layer's state."""
    attention_units: int = 256
    """Size of what is known of a place of the picture, and of what a place is compared by."""
    layers: int = 1
    """Recurrent layers, 1 to 4."""
    embedding: int = 256
    """Size of the learnt vector of a token."""
    input_feeding: bool = True
    """The decoder also reads what it saw at the step before; not with merge and inject."""
    tied: bool = True
    """Use the embedding also as output weights."""
    dropout: float = 0.5
    """Probability of dropping a value of embeddings, of the memory and before the output, while training."""
    locked: bool = False
    """Drop the same values at all steps of a caption."""
    recurrent_dropout: float = 0.0
    """Probability of dropping a value of the state on its way to the next step; the same at all steps."""

    batch_size: int = 64
    """Captions of an update."""
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
    label_smoothing: float = 0.0
    """Part of the target's probability that is spread over all tokens."""
    scheduled_sampling: float = 0.0
    """Probability with which the decoder reads, while training, its own guess in the place of the right token; it
    grows to this value over the run."""
    even_attention: float = 0.0
    """Weight of the cost of not looking at each place about once; with soft attention."""
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
    best: Literal["loss", "cider"] = "loss"
    """What the best checkpoint is chosen by: nats a token, or CIDEr-D of greedy captions, of the validation part."""

    minutes: float | None = None
    """Budget: minutes of training. With --epochs, the first to be spent ends the run; with neither, Ctrl-C does."""
    epochs: float | None = None
    """Budget: times through the training captions; 0.5 is half of them."""
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
    """Seed of the weights, of dropout and of the order of captions."""
    sample_every: int = 500
    """Updates between captions of a validation picture that are shown; 0 shows none."""

    def __post_init__(self) -> None:
        check_types(self)
        check_machine(self)
        check_at_most_one(self, "dataset", "images")
        check_at_most_one(self, "source", "images")
        for name in ("units", "attention_units", "embedding", "batch_size", "accumulate", "max_length", "min_count"):
            check_range(self, name, 1)
        for name in ("weight_decay", "warmup_steps", "patience", "threads", "sample_every", "even_attention"):
            check_range(self, name, 0)
        for name in ("learning_rate", "clip_at", "minutes", "epochs", "validate_every"):
            check_above(self, name, 0)
        for name in ("validation_fraction", "test_fraction"):
            check_range(self, name, 0, 0.5)
        for name in ("dropout", "recurrent_dropout", "label_smoothing"):
            check_range(self, name, 0, 0.95)
        check_range(self, "image_size", 32, 1_024)
        check_range(self, "max_vocabulary", 10)
        check_range(self, "layers", 1, 4)
        check_range(self, "scheduled_sampling", 0, 1)
        check_range(self, "smoothing", 0, 0.9999)
        check_range(self, "average", 0, 0.99999)
        check_range(self, "seed", 0, SEED_LIMIT)
        self._check_combinations()

    @property
    def trains_encoder(self) -> bool:
        """Whether the encoder learns too, so that what it sees cannot be computed once."""
        return self.fine_tune or self.encoder == FROM_SCRATCH

    def _check_combinations(self) -> None:
        if self.weight_decay and self.optimizer != "adamw":
            raise UsageError(f"--weight-decay with --optimizer {self.optimizer}: wanted --optimizer adamw")
        if self.even_attention and self.attention != "soft":
            raise UsageError(f"--even-attention with --attention {self.attention}: wanted --attention soft")
        if (self.images is None) != (self.captions is None):
            given, missing = ("--images", "--captions") if self.captions is None else ("--captions", "--images")
            raise UsageError(f"{given} without {missing}: wanted both")


PRESETS: dict[str, Config] = {
    "quick": Config(
        encoder=FROM_SCRATCH, image_size=64, units=128, attention_units=128, embedding=64, max_vocabulary=1_000,
        min_count=1, dropout=0.1, batch_size=32, learning_rate=0.002, minutes=3, validate_every=30.0, sample_every=200,
    ),
    "base": Config(preset="base", average=0.999, flip=True, epochs=12, validate_every=120.0),
    "large": Config(preset="large", units=1_024, embedding=512, average=0.999, flip=True, epochs=12),
    # Seconds on any machine: for a first look, and for tests.
    "tiny": Config(
        preset="tiny", encoder=FROM_SCRATCH, image_size=32, units=16, attention_units=16, embedding=16,
        max_vocabulary=100, min_count=1, batch_size=16, epochs=0.05, warmup_steps=5, learning_rate=0.01, dropout=0.0,
        validate_every=5.0, sample_every=0,
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Serve(ServeModel):
    __doc__ = ServeModel.__doc__

    SHIPPED: ClassVar[str] = SHIPPED_MODEL


@dataclass(frozen=True)
class Tune(SearchOptions, Config):
    """Search for options that train a better model: each trial is a run of `train`, in a folder of its own."""

    run: Path = Path("runs/captioning_tune")
    """Folder of all trials."""
