"""Pairs, vocabularies and a network, as a config says."""

from __future__ import annotations

from pathlib import Path

import keras

from rnnapps import config as configs
from rnnapps import runtime
from rnnapps.data.held_out import Splits
from rnnapps.data.pair_corpus import PairCorpus
from rnnapps.data.pair_files import Pair
from rnnapps.data.pair_sources import DEFAULT_DATASET, DEFAULT_LANGUAGES, pair_splits
from rnnapps.data.sentence_codec import SentenceCodec, encoder
from rnnapps.data.sentences import SentenceVocabulary, in_chunks
from rnnapps.models.translator import translator
from rnnapps.ops.strings import Form
from rnnapps.translation.config import Config

DATA = "pairs"
Vocabularies = tuple[SentenceVocabulary, SentenceVocabulary]


def learnt(config: Config) -> str:
    """The name of what a config learns."""
    if config.pairs:
        return config.pairs[0].name
    return "_".join([config.dataset or DEFAULT_DATASET, *config.languages])


def resolved(config: Config) -> Config:
    """The config with what its defaults stand for, so that a run's config says it."""
    usual = DEFAULT_LANGUAGES.get(config.dataset or DEFAULT_DATASET, ())
    languages = config.languages or (() if config.pairs else usual)
    return configs.replace(config, languages=languages, precision=runtime.precision(config.precision))


def prepare(config: Config, scratch: Path) -> PairCorpus:
    """The pairs of a config as a corpus in a new folder under `scratch`, with its vocabularies."""
    data_dir = scratch / "data" if config.source else config.data_dir
    splits = pair_splits(
        config.dataset, config.source, config.pairs, config.validation, config.test, config.aligned, config.languages,
        config.validation_fraction, config.test_fraction, data_dir, config.seed,
    )  # fmt: skip
    vocabularies = _vocabularies(config, splits)
    folder = scratch / DATA
    folder.mkdir()
    source, target = (SentenceCodec(vocabulary) for vocabulary in vocabularies)
    corpus = PairCorpus.prepare(splits, folder, encoder(source, ends=True), encoder(target), config.max_length)
    for vocabulary, side in zip(vocabularies, ("source", "target"), strict=True):
        vocabulary.save(folder / f"{side}_vocabulary.json")
    return corpus


def load_vocabularies(folder: Path) -> Vocabularies:
    """Of what is read and of what is written, from the folder of a corpus."""
    source, target = (SentenceVocabulary.load(folder / f"{side}_vocabulary.json") for side in ("source", "target"))
    return source, target


def _vocabularies(config: Config, splits: Splits[Pair]) -> Vocabularies:
    def learn(form: Form, *sides: int) -> SentenceVocabulary:
        sentences = (pair[side] for pair in splits.train() for side in sides)
        return SentenceVocabulary.learn(
            config.tokens, in_chunks(sentences), config.max_vocabulary, config.lowercase, form=form
        )

    # What is written keeps its characters; of what is read, those that look alike are one.
    if config.joint:
        both = learn("NFC", 0, 1)
        return both, both
    return learn("NFKC", 0), learn("NFC", 1)


def network(config: Config, vocabularies: Vocabularies, dtype: str = "float32") -> keras.Model:
    """The config's network."""
    options = (
        "cell", "units", "layers", "embedding", "score", "input_feeding", "coverage", "bridge", "tied", "dropout",
        "locked", "recurrent_dropout", "seed",
    )  # fmt: skip
    sizes = [vocabulary.size for vocabulary in vocabularies]
    found = {name: getattr(config, name) for name in options}
    return translator(sizes[0], None if config.joint else sizes[1], dtype=dtype, **found)
