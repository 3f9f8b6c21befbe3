"""What translation does: train, tune, evaluate, predict, export."""

import functools
import math
from pathlib import Path
from typing import Any

import keras

from rnnapps import config as configs
from rnnapps import runtime
from rnnapps.data import pairs
from rnnapps.data.pair_corpus import PairCorpus
from rnnapps.data.sentence_codec import SentenceCodec
from rnnapps.data.share import Share
from rnnapps.decoding import Search
from rnnapps.serving.export import export_servables
from rnnapps.serving.translation_endpoints import TranslationEndpoints
from rnnapps.serving.translation_model import TranslationModel
from rnnapps.training import tuning
from rnnapps.training.console import Console
from rnnapps.training.distribution import Distribution, distribution
from rnnapps.training.lock import one_process
from rnnapps.training.log import Log
from rnnapps.training.loop import Loop, Plan
from rnnapps.training.metric import Metric, Nats
from rnnapps.training.optimizers import optimizer, put_weights
from rnnapps.training.run import Run
from rnnapps.training.sentence_loss import mean_nats, tokens_in, training_loss
from rnnapps.training.translation_scores import scores
from rnnapps.training.window_trainer import WindowTrainer
from rnnapps.translation import answers
from rnnapps.translation.build import DATA, learnt, load_vocabularies, network, prepare, resolved
from rnnapps.translation.config import Config, Evaluate, Export, Predict, Tune

_VALIDATION_PAIRS = 2_000  # at most, so that a validation takes seconds
_VALIDATION_BATCH = 64
_LOCAL = ("pairs", "validation", "test")  # say nothing elsewhere
# What the pairs in a run's folder, and their order, depend on.
_FIXED = (
    "dataset", "source", "pairs", "validation", "test", "aligned", "languages", "validation_fraction", "test_fraction",
    "tokens", "max_vocabulary", "joint", "lowercase", "max_length", "batch_size", "batch_tokens", "seed",
)  # fmt: skip


@one_process
def train(config: Config) -> keras.Model:
    """Trains a model in the folder `config.run`.

    Returns:
        The best model, in float32.

    Raises:
        UsageError: The options, the pairs or the folder are not usable.
        RunError: The loss exploded, or something could not be saved.
        KeyboardInterrupt: Ctrl-C; the run is saved.
    """
    runtime.check_gpu(config.check_gpu)
    runtime.seed_everything(config.seed)
    config = resolved(config)
    spread = distribution(config.strategy, config.replicas)
    run, console = Run(config.run, DATA), Console(_metric(config), quiet=not spread.is_chief)
    with spread.chief_first():
        if config.resume:
            run.check_resumable(config, _FIXED)
        elif spread.is_chief:
            _begin(run, config, console)
    corpus = PairCorpus.open(run.data_path)
    loop = _loop(run, config, corpus, console, spread)
    batches = functools.partial(_batches, config, corpus)
    run.carry_out(loop, config, batches, f"{learnt(config)}, {config.preset}")
    run.stop_if_interrupted(loop)
    with spread.chief_first():  # the others stay, as a process that left would be missed
        return _finish(run, config, corpus, console) if spread.is_chief else run.load_model()


def _metric(config: Config) -> Metric:
    if config.best == "bleu":
        return Metric("bleu", "pair", "BLEU of greedy translations", higher_is_better=True)
    return Nats(counted="token")


def _begin(run: Run, config: Config, console: Console) -> None:
    with run.new_folder(config.overwrite) as scratch:
        corpus = prepare(config, scratch)
        run.begin(config, corpus.folder)
    for note in corpus.notes:
        console.say(note)
    counts = ", ".join(f"{corpus.pairs_in(split):,} {split}" for split in ("train", "validation", "test"))
    sizes = [vocabulary.size for vocabulary in load_vocabularies(run.data_path)]
    joint = f"one vocabulary of {sizes[0]:,}" if config.joint else f"vocabularies of {sizes[0]:,} and {sizes[1]:,}"
    console.say(f"{learnt(config)}: {counts} pairs, {joint} {config.tokens}s")


def _batches(config: Config, corpus: PairCorpus, position: int, share: Share) -> Any:
    return pairs.batches(
        corpus, "train", config.batch_size, config.batch_tokens, runtime.bucket(), config.seed, position,
        epochs=None, share=share,
    )  # fmt: skip


def _loop(run: Run, config: Config, corpus: PairCorpus, console: Console, spread: Distribution) -> Loop:
    vocabularies = load_vocabularies(run.data_path)
    plan = _plan(config, corpus, vocabularies[1].size)
    rates = config.optimizer, config.learning_rate, config.weight_decay, config.average, config.accumulate
    loss = training_loss(config.label_smoothing, config.scheduled_sampling, lambda: updates.iterations, config.seed)
    with spread.scope():
        learner, updates = network(config, vocabularies, config.precision), optimizer(*rates)
        trainer = WindowTrainer(learner, loss, config.clip, config.clip_at, tokens_in)
        spread.compile(trainer, updates, jit_compile=runtime.jit_compile())
    # The same weights in float32: what is kept, validated and translated with.
    model = network(config, vocabularies)
    translation = TranslationModel.from_keras(model, vocabularies, config.max_length)
    sources, targets = (texts[:_VALIDATION_PAIRS] for texts in corpus.texts("validation"))
    nats = mean_nats(model, runtime.jit_compile())

    def take_weights() -> None:
        put_weights(model, learner, updates)

    def translate(some: list[str]) -> list[str]:
        return translation.texts(translation.translate(some, Search(beam=1, max_length=config.max_length)))

    def validate() -> float | None:
        take_weights()
        if not sources:
            return None
        if config.best == "bleu":
            return scores(translate(sources), targets, config.lowercase)["bleu"]
        return nats(pairs.batches(corpus, "validation", _VALIDATION_BATCH, bucket=runtime.bucket()))

    def sample() -> str:
        take_weights()
        some = sources[:1]
        return "\n".join(f"{one}\n    {other}" for one, other in zip(some, translate(some), strict=True))

    def keep() -> None:
        run.save_model(model)

    log = Log(run.folder)
    return Loop(trainer, plan, run.checkpoints, log, console, validate, keep, sample, spread)


def _plan(config: Config, corpus: PairCorpus, size: int) -> Plan:
    per_epoch = pairs.batches_per_epoch(
        corpus, "train", config.batch_size, config.batch_tokens, bucket=runtime.bucket()
    )
    count, (_, tokens) = corpus.pairs_in("train"), corpus.tokens_in("train")
    counted = count if config.best == "bleu" else count + tokens  # each target has its end as well
    return Plan.of(
        config,
        per_epoch,
        start_loss=math.log(size),
        explosion=3 * math.log(size),
        loss_scale=1,
        counted_per_step=round(counted / per_epoch),
    )


def _finish(run: Run, config: Config, corpus: PairCorpus, console: Console) -> keras.Model:
    """Scores the best model on the part that training never saw."""
    model = run.load_model()
    if corpus.pairs_in("test"):
        translation = TranslationModel.from_keras(model, load_vocabularies(run.data_path), config.max_length)
        figures, sentence = answers.judged(translation, *corpus.texts("test"))
        run.save_figures(**{f"test_{name}": value for name, value in figures.items()})
        console.say(f"test: {sentence}")
    console.say(f"model: {run.model_path}; in full: python -m rnnapps.translation evaluate --run {run.folder}")
    return model


def tune(options: Tune) -> Any:
    """Trains with options from a space; prints and returns a table of the trials, the best first."""
    return tuning.tune("translation", Config, train, options)


def evaluate(options: Evaluate) -> dict[str, Any]:
    """Prints and returns the scores of translations, beside those of copying the source."""
    return answers.evaluate(options)


def predict(options: Predict) -> list[list[str]]:
    """Prints and returns the translations of each sentence, the best first."""
    return answers.predict(options)


def export(options: Export) -> Path:
    """Writes the run's model as a SavedModel; prints and returns its folder; prints that of the XLA form too."""
    run = Run(options.run, DATA)
    config, model = run.load_config(Config), run.load_model()
    corpus, vocabularies = PairCorpus.open(run.data_path), load_vocabularies(run.data_path)
    source = SentenceCodec(vocabularies[0])
    target = source if config.joint else SentenceCodec(vocabularies[1])
    search = answers.search(options, config.max_length)
    manifest = {
        **run.manifest("translation", config, _LOCAL),
        "data": {"learnt": learnt(config), **{part: corpus.pairs_in(part) for part in ("train", "validation", "test")}},
        "languages": list(config.languages),
        "search": configs.to_dict(search),
        "max_length": config.max_length,
        "source_vocabulary": vocabularies[0].to_dict(),
        "target_vocabulary": None if config.joint else vocabularies[1].to_dict(),
    }  # fmt: skip
    name = options.name or Path(learnt(config)).stem

    def make(xla: bool) -> TranslationEndpoints:
        return TranslationEndpoints(model, source, target, search, xla)

    paths = export_servables(make, options.output, name, manifest, options.xla)
    print(*paths, sep="\n")
    return paths[0]
