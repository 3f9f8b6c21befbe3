"""Pictures, a vocabulary and networks, as a config says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import keras
import numpy as np

from rnnapps import config as configs
from rnnapps import runtime
from rnnapps.captioning.config import Config
from rnnapps.data.caption_corpus import CaptionCorpus
from rnnapps.data.caption_sources import DEFAULT_DATASET, caption_splits
from rnnapps.data.captions import Features, Look, means_of, pictures
from rnnapps.data.pair_corpus import PairCorpus
from rnnapps.data.sentence_codec import SentenceCodec, encoder
from rnnapps.data.sentences import SentenceVocabulary, in_chunks
from rnnapps.models.captioner import captioner, with_encoder
from rnnapps.models.picture_encoder import grid_size, identity, picture_encoder
from rnnapps.training.run import Run

DATA = "pictures"
_CAPTIONS, _VOCABULARY = "captions", "vocabulary.json"


class Corpus(NamedTuple):
    """What a run learns."""

    pictures: CaptionCorpus
    captions: PairCorpus
    vocabulary: SentenceVocabulary


def learnt(config: Config) -> str:
    """The name of what a config learns."""
    return config.images.name if config.images else config.dataset or DEFAULT_DATASET


def resolved(config: Config) -> Config:
    """The config with what its defaults stand for, so that a run's config says it."""
    return configs.replace(config, precision=runtime.precision(config.precision))


def prepare(config: Config, scratch: Path) -> Path:
    """The pictures of a config, their captions and vocabulary, in a new folder under `scratch`."""
    data_dir = scratch / "data" if config.source else config.data_dir
    splits = caption_splits(
        config.dataset, config.source, config.images, config.captions, config.validation_fraction,
        config.test_fraction, data_dir, config.seed,
    )  # fmt: skip
    folder = scratch / DATA
    found = CaptionCorpus.prepare(splits, folder)
    vocabulary = _vocabulary(config, found)
    encode = encoder(SentenceCodec(vocabulary))
    PairCorpus.prepare(found.pairs(), folder / _CAPTIONS, _numbers, encode, config.max_length)
    vocabulary.save(folder / _VOCABULARY)
    return folder


def load(folder: Path) -> Corpus:
    """What `prepare` wrote."""
    vocabulary = SentenceVocabulary.load(folder / _VOCABULARY)
    return Corpus(CaptionCorpus.open(folder), PairCorpus.open(folder / _CAPTIONS), vocabulary)


def _vocabulary(config: Config, found: CaptionCorpus) -> SentenceVocabulary:
    if config.start_from is not None:
        return SentenceVocabulary.load(Run(config.start_from, DATA).data_path / _VOCABULARY)
    chunks = in_chunks(found.captions("train"))
    return SentenceVocabulary.learn(
        config.tokens,
        chunks,
        config.max_vocabulary,
        config.lowercase,
        config.min_count if config.tokens != "subword" else 1,
        "NFC",  # captions are written, so they keep their characters
    )


def _numbers(texts: list[str]) -> list[np.ndarray]:
    return [np.array([int(text)], np.int32) for text in texts]


class Networks(NamedTuple):
    """A captioner in its two halves, and the whole, which shares their weights."""

    encoder: keras.Model
    writer: keras.Model
    whole: keras.Model


def encoder_of(config: Config) -> keras.Model:
    """The config's encoder, with the weights that it begins with."""
    seeing = picture_encoder(config.encoder, config.image_size, config.seed)
    seeing.trainable = config.trains_encoder
    return seeing


def networks(config: Config, seeing: keras.Model, vocabulary: SentenceVocabulary, dtype: str = "float32") -> Networks:
    """The config's networks behind an encoder."""
    options = (
        "cell", "units", "layers", "embedding", "attention_units", "input_feeding", "tied", "dropout", "locked",
        "recurrent_dropout", "seed",
    )  # fmt: skip
    _, places, channels = seeing.output.shape
    found = {name: getattr(config, name) for name in options}
    writer = captioner(places, channels, vocabulary.size, config.attention, dtype=dtype, **found)
    return Networks(seeing, writer, with_encoder(seeing, writer))


def twin(config: Config, learner: Networks, vocabulary: SentenceVocabulary) -> Networks:
    """The same networks in float32, with weights of their own; an encoder that is not trained is the learner's."""
    seeing = encoder_of(config) if config.trains_encoder else learner.encoder
    return networks(config, seeing, vocabulary)


def grid(config: Config, model: keras.Model) -> tuple[int, int] | None:
    """Rows and columns of what attention chooses from, of a whole captioner; None where it sees no places."""
    return grid_size(model.get_layer("picture_encoder")) if config.attention in ("soft", "adaptive") else None


def look(
    config: Config, corpus: CaptionCorpus, part: str, found: Networks, folder: Path, say: Callable[[str], None]
) -> Look:
    """What the learner reads of a part's pictures: themselves, or what a frozen encoder sees in them."""
    flip = config.flip and part == "train"
    if config.trains_encoder:
        return pictures(corpus, part, config.image_size, config.seed if flip else None)
    return features(config, corpus, part, found.encoder, folder, say).look(config.seed if flip else None)


def features(
    config: Config, corpus: CaptionCorpus, part: str, seeing: keras.Model, folder: Path, say: Callable[[str], None]
) -> Features:
    """What the encoder sees in a part's pictures."""

    def told(done: int, of: int) -> None:
        if done == of or done % 1_024 < 32 <= done:
            say(f"{config.encoder} has seen {done:,} of {of:,} {part} pictures")

    return Features.of(
        config.features_dir or folder / "features", corpus, part, lambda some: seeing(some, training=False),
        config.image_size, f"{config.encoder} {identity(seeing)}", config.flip and part == "train", told,
    )  # fmt: skip


def means(config: Config, corpus: CaptionCorpus, part: str, seeing: keras.Model, folder: Path) -> np.ndarray:
    """What the encoder sees in each of a part's pictures as a whole, `(pictures, channels)`."""
    if not config.trains_encoder:
        return features(config, corpus, part, seeing, folder, lambda text: None).means()
    return means_of(corpus, part, lambda some: seeing(some, training=False), config.image_size)
