"""What is asked of a trained captioner: one frozen dataclass for each verb but `train`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rnnapps.config import check_above, check_at_most_one, check_folder_name, check_range, check_types
from rnnapps.errors import UsageError

RUN = Path("runs/captioning")
SEED_LIMIT = 2**31 - 1
_PICTURES = (".png", ".svg", ".pdf")


@dataclass(frozen=True)
class Decoding:
    """How captions are searched for."""

    beam: int = 5
    """Captions that are followed side by side; 1 is greedy."""
    length_penalty: float = 1.0
    """Favour of longer captions: the exponent of Wu et al. (2016); 0 has none."""
    no_repeat_ngram: int = 0
    """No sequence of so many tokens stands twice in a caption; 0 allows all."""
    batch_size: int = 32
    """Pictures that are captioned side by side."""

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("beam", "batch_size"):
            check_range(self, name, 1)
        for name in ("length_penalty", "no_repeat_ngram"):
            check_range(self, name, 0)


@dataclass(frozen=True)
class Evaluate(Decoding):
    """Caption a part of a run's pictures, or your own, and score it against all references, beside two baselines."""

    run: Path | None = None
    """Run folder of the model to score. Default: runs/captioning."""
    model: Path | None = None
    """Exported SavedModel to score on --images, instead of a run."""
    split: Literal["validation", "test"] = "test"
    """Part of the data set that is scored."""
    images: Path | None = None
    """Your own pictures to score, instead of the data set: a folder. Goes with --captions."""
    captions: Path | None = None
    """Their captions, as in training."""
    output: Path | None = None
    """File to write the captions to: lines of a file name, a tab and a caption."""
    json: bool = False
    """Print one JSON object instead of tables."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_most_one(self, "run", "model")
        if (self.images is None) != (self.captions is None):
            given, missing = ("--images", "--captions") if self.captions is None else ("--captions", "--images")
            raise UsageError(f"{given} without {missing}: wanted both")


@dataclass(frozen=True)
class Predict(Decoding):
    """Describe a picture, all pictures in a folder, or those whose names match a pattern such as photos/*.jpg."""

    image: tuple[Path, ...] = ()
    """Pictures to describe: files, folders or patterns."""
    run: Path | None = None
    """Run folder whose model describes. Default: the run in runs/captioning, or else the shipped model."""
    model: Path | None = None
    """Exported SavedModel that describes, instead of a run."""
    nbest: int = 1
    """Captions of a picture that are printed, the best first, with their scores."""
    min_length: int = 0
    """Tokens that a caption has at least."""
    max_length: int | None = None
    """Tokens that a caption has at most. Default: as in training."""
    prefix: str | None = None
    """Begin every caption with this text."""
    num_samples: int = 0
    """Draw so many captions of each picture, instead of searching for the best."""
    temperature: float = 1.0
    """Daring of --num-samples: 1 draws as the network learnt, less is safer."""
    top_k: int = 0
    """Draw only from the k most likely tokens; 0 from all."""
    top_p: float = 1.0
    """Draw only from the likeliest tokens that together have this probability; 1 from all."""
    seed: int = 0
    """Seed of --num-samples: one seed, the same captions."""
    json: bool = False
    """Print one JSON object a picture, a line each, with scores."""
    show_attention: Path | None = None
    """Picture to write: where each word of the first picture's caption looked, a panel a word. .png, .svg or .pdf."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_most_one(self, "run", "model")
        check_range(self, "nbest", 1)
        for name in ("min_length", "top_k", "num_samples"):
            check_range(self, name, 0)
        check_above(self, "temperature", 0)
        check_above(self, "top_p", 0, 1)
        check_range(self, "max_length", 1)
        check_range(self, "seed", 0, SEED_LIMIT)
        if self.nbest > self.beam:
            raise UsageError(f"--nbest {self.nbest} with --beam {self.beam}: wanted at most as many as the beam has")
        if self.show_attention is not None and self.show_attention.suffix.lower() not in _PICTURES:
            raise UsageError(f"--show-attention {self.show_attention}: wanted a name that ends with .png, .svg or .pdf")


@dataclass(frozen=True)
class Export(Decoding):
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
        super().__post_init__()
        check_folder_name(self, "name")
