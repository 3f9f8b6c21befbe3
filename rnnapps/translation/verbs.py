"""What is asked of a trained translator: one frozen dataclass for each verb but `train`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from rnnapps.config import check_above, check_at_most_one, check_folder_name, check_range, check_types
from rnnapps.errors import UsageError

RUN = Path("runs/translation")
SEED_LIMIT = 2**31 - 1


@dataclass(frozen=True)
class Decoding:
    """How translations are searched for."""

    beam: int = 5
    """Translations that are followed side by side; 1 is greedy."""
    length_penalty: float = 1.0
    """Favour of longer translations: the exponent of Wu et al. (2016); 0 has none."""
    coverage_penalty: float = 0.0
    """Cost of places of the source that were not looked at, of Wu et al. (2016)."""
    no_repeat_ngram: int = 0
    """No sequence of so many tokens stands twice in a translation; 0 allows all."""
    batch_size: int = 64
    """Sentences that are translated side by side."""

    def __post_init__(self) -> None:
        check_types(self)
        for name in ("beam", "batch_size"):
            check_range(self, name, 1)
        for name in ("length_penalty", "coverage_penalty", "no_repeat_ngram"):
            check_range(self, name, 0)


@dataclass(frozen=True)
class Evaluate(Decoding):
    """Translate a part of a run's pairs, or your own, and score it: BLEU and chrF, beside copying the source."""

    run: Path | None = None
    """Run folder of the model to score. Default: runs/translation."""
    model: Path | None = None
    """Exported SavedModel to score on --pairs, instead of a run."""
    split: Literal["validation", "test"] = "test"
    """Part of the data set that is scored."""
    pairs: tuple[Path, ...] = ()
    """Your own files to score, as in training, instead of the data set."""
    aligned: bool = False
    """--pairs names two files, whose lines belong together."""
    lowercase: bool = False
    """Score without regard to capital letters."""
    tokenize: Literal["auto", "13a", "intl", "zh", "ja-mecab", "ko-mecab", "char", "none"] = "auto"
    """How BLEU cuts texts into words, as sacrebleu calls it; auto takes zh for Chinese, ja-mecab (or char without it)
    for Japanese, char for Thai, Lao, Tibetan, Burmese and Khmer, and 13a for all others."""
    by_length: bool = False
    """Also print a line for each length of the source."""
    output: Path | None = None
    """File to write the translations to, one a line."""
    json: bool = False
    """Print one JSON object instead of tables."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_most_one(self, "run", "model")


@dataclass(frozen=True)
class Predict(Decoding):
    """Translate a sentence, a file, or standard input line by line."""

    sentence: str | None = None
    """Sentence to translate. Default: --file, or else standard input, a sentence a line."""
    file: Path | None = None
    """UTF-8 file of sentences, one a line."""
    run: Path | None = None
    """Run folder whose model translates. Default: the run in runs/translation, or else the shipped model."""
    model: Path | None = None
    """Exported SavedModel that translates, instead of a run."""
    nbest: int = 1
    """Translations of a sentence that are printed, the best first, with their scores."""
    groups: int = 1
    """Groups of the beam that are made to differ, by --diversity."""
    diversity: float = 0.5
    """Cost of a token that another group has just written."""
    min_length: int = 0
    """Tokens that a translation has at least."""
    max_length: int | None = None
    """Tokens that a translation has at most. Default: as in training."""
    prefix: str | None = None
    """Begin every translation with this text."""
    sample: bool = False
    """Draw translations, --nbest of them, instead of searching for the best."""
    temperature: float = 1.0
    """Daring of --sample: 1 draws as the network learnt, less is safer."""
    top_k: int = 0
    """Draw only from the k most likely tokens; 0 from all."""
    top_p: float = 1.0
    """Draw only from the likeliest tokens that together have this probability; 1 from all."""
    min_p: float = 0.0
    """Draw only from tokens at least this probable, relative to the likeliest; 0 from all."""
    seed: int = 0
    """Seed of --sample: one seed, the same translations."""
    json: bool = False
    """Print one JSON object a sentence, a line each, with scores and alignments."""
    plot_attention: Path | None = None
    """Picture to write: where each token of the first translation looked. .png, .svg or .pdf."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_at_most_one(self, "sentence", "file")
        check_at_most_one(self, "run", "model")
        for name in ("nbest", "groups"):
            check_range(self, name, 1)
        for name in ("min_length", "diversity", "top_k"):
            check_range(self, name, 0)
        check_above(self, "temperature", 0)
        check_above(self, "top_p", 0, 1)
        check_range(self, "min_p", 0, 1)
        check_range(self, "max_length", 1)
        check_range(self, "seed", 0, SEED_LIMIT)
        if self.nbest > self.beam and not self.sample:
            raise UsageError(f"--nbest {self.nbest} with --beam {self.beam}: wanted at most as many as the beam has")
        if self.beam % self.groups:
            raise UsageError(f"--groups {self.groups} with --beam {self.beam}: wanted a divisor of it")
        if self.plot_attention is not None and self.plot_attention.suffix.lower() not in (".png", ".svg", ".pdf"):
            raise UsageError(f"--plot-attention {self.plot_attention}: wanted a name that ends with .png, .svg or .pdf")


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
