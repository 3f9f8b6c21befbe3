"""What captioning does: train, tune, evaluate, predict, export."""

import functools
import math
from pathlib import Path
from typing import Any

import keras

from rnnapps import config as configs
from rnnapps import runtime
from rnnapps.captioning import answers, build
from rnnapps.captioning.build import DATA, Corpus, Networks, learnt
from rnnapps.captioning.config import Config, Evaluate, Export, Predict, Tune
from rnnapps.data import captions, pairs
from rnnapps.data.sentence_codec import SentenceCodec
from rnnapps.data.share import Share
from rnnapps.decoding import Search
from rnnapps.errors import UsageError
from rnnapps.serving.caption_endpoints import CaptionEndpoints
from rnnapps.serving.export import export_servables
from rnnapps.training import tuning
from rnnapps.training.caption_scores import scores
from rnnapps.training.console import Console
from rnnapps.training.distribution import Distribution, distribution
from rnnapps.training.lock import one_process
from rnnapps.training.log import Log
from rnnapps.training.loop import Loop, Plan
from rnnapps.training.metric import Metric, Nats
from rnnapps.training.optimizers import optimizer, put_weights
from rnnapps.training.run import Run
from rnnapps.training.sentence_loss import mean_nats, tokens_in, training_loss
from rnnapps.training.window_trainer import WindowTrainer

_VALIDATION_PICTURES = 500  # that are captioned for CIDEr-D, so that a validation takes seconds
_VALIDATION_BATCH = 64
_LOCAL = ("start_from", "images", "captions", "features_dir")
# What the pictures in a run's folder, what is read of them, and their order depend on.
_FIXED = (
    "dataset", "source", "images", "captions", "validation_fraction", "test_fraction", "tokens", "max_vocabulary",
    "min_count", "lowercase", "max_length", "encoder", "image_size", "fine_tune", "flip", "start_from", "batch_size",
    "seed",
)  # fmt: skip


@one_process
def train(config: Config) -> keras.Model:
    """Trains a model in the folder `config.run`.

    Returns:
        The best model, in float32.

    Raises:
        UsageError: The options, the pictures or the folder are not usable.
        RunError: The loss exploded, or something could not be saved.
        KeyboardInterrupt: Ctrl-C; the run is saved.
    """
    runtime.check_gpu(config.check_gpu)
    runtime.seed_everything(config.seed)
    config = build.resolved(config)
    spread = distribution(config.strategy, config.replicas)
    run, console = Run(config.run, DATA), Console(_metric(config), quiet=not spread.is_chief)
    with spread.chief_first():
        if config.resume:
            run.check_resumable(config, _FIXED)
        seeing = build.encoder_of(config)  # one that cannot be had is said before anything is written
        if spread.is_chief and not config.resume:
            _begin(run, config, console)
    corpus = build.load(run.data_path)
    with spread.scope():
        if spread.replicas > 1 and config.trains_encoder:
            seeing = build.encoder_of(config)  # on each of them
        learner = build.networks(config, seeing, corpus.vocabulary, config.precision)
    if config.start_from is not None:
        _start(config.start_from, learner)
    with spread.chief_first():
        parts = ("train", "validation")
        looks = {part: build.look(config, corpus.pictures, part, learner, run.data_path, console.say) for part in parts}
    loop = _loop(run, config, corpus, learner, looks["validation"], console, spread)
    batches = functools.partial(_batches, config, corpus, looks["train"])
    run.carry_out(loop, config, batches, f"{learnt(config)}, {config.preset}")
    run.stop_if_interrupted(loop)
    with spread.chief_first():  # the others stay, as a process that left would be missed
        return _finish(run, config, corpus, console) if spread.is_chief else run.load_model()


def _metric(config: Config) -> Metric:
    if config.best == "cider":
        return Metric("cider", "caption", "CIDEr-D of greedy captions", higher_is_better=True)
    return Nats(counted="token")


def _begin(run: Run, config: Config, console: Console) -> None:
    with run.new_folder(config.overwrite) as scratch:
        run.begin(config, build.prepare(config, scratch))
    corpus = build.load(run.data_path)
    for note in (*corpus.pictures.notes, *corpus.captions.notes):
        console.say(note)
    counts = ", ".join(
        f"{len(corpus.pictures.entries(part)):,} {corpus.pictures.names[part]}"
        for part in ("train", "validation", "test")
    )
    sizes = f"{corpus.captions.pairs_in('train'):,} captions to learn, {corpus.vocabulary.size:,} {config.tokens}s"
    console.say(f"{learnt(config)}: {counts} pictures, {sizes}")


def _batches(config: Config, corpus: Corpus, look: captions.Look, position: int, share: Share) -> Any:
    return captions.batches(
        corpus.captions,
        "train",
        look,
        config.batch_size,
        config.seed,
        position,
        epochs=None,
        bucket=runtime.bucket(),
        share=share,
    )


def _loop(
    run: Run,
    config: Config,
    corpus: Corpus,
    learner: Networks,
    look: captions.Look,
    console: Console,
    spread: Distribution,
) -> Loop:
    plan = _plan(config, corpus)
    rates = config.optimizer, config.learning_rate, config.weight_decay, config.average, config.accumulate
    with spread.scope():
        updates = optimizer(*rates)
    loss = training_loss(
        config.label_smoothing, config.scheduled_sampling, lambda: updates.iterations, config.seed,
        config.even_attention,
    )  # fmt: skip
    learns = learner.whole if config.trains_encoder else learner.writer
    with spread.scope():
        trainer = WindowTrainer(learns, loss, config.clip, config.clip_at, tokens_in)
        spread.compile(trainer, updates, jit_compile=runtime.jit_compile())
    # The same weights in float32: what is kept, validated and captioned with.
    kept = build.twin(config, learner, corpus.vocabulary)
    model = kept.whole if config.trains_encoder else kept.writer
    translation = answers.of_run(config, kept.whole, corpus)
    nats, count = mean_nats(model, runtime.jit_compile()), len(corpus.pictures.entries("validation"))
    some = [corpus.pictures.picture("validation", number) for number in range(min(count, _VALIDATION_PICTURES))]

    def take_weights() -> None:
        put_weights(model, learns, updates)

    def caption(files: list[bytes]) -> list[str]:
        how = Search(beam=1, max_length=config.max_length, block_unseen=True)
        return translation.texts(translation.caption(files, how))

    def validate() -> float | None:
        take_weights()
        if not count:
            return None
        if config.best == "cider":
            references = [entry.captions for entry in corpus.pictures.entries("validation")[: len(some)]]
            return scores(caption(some), references)["cider_d"]
        return nats(captions.batches(corpus.captions, "validation", look, _VALIDATION_BATCH, bucket=runtime.bucket()))

    def sample() -> str:
        take_weights()
        entries = corpus.pictures.entries("validation")[:1]
        shown = zip(entries, caption(some[:1]), strict=True)
        return "\n".join(f"{entry.name}: {entry.captions[0]}\n    {text}" for entry, text in shown)

    def keep() -> None:
        run.save_model(kept.whole)

    log = Log(run.folder)
    return Loop(trainer, plan, run.checkpoints, log, console, validate, keep, sample, spread)


def _start(folder: Path, learner: Networks) -> None:
    """Takes the weights of another run."""
    other = Run(folder, DATA).load_model()
    try:
        learner.writer.set_weights(other.get_layer("captioner").get_weights())
        learner.encoder.set_weights(other.get_layer("picture_encoder").get_weights())
    except ValueError as error:
        reason = str(error).partition("\n")[0]
        raise UsageError(f"--start-from {folder} is a run of another network ({reason})") from error


def _plan(config: Config, corpus: Corpus) -> Plan:
    per_epoch = pairs.batches_per_epoch(corpus.captions, "train", config.batch_size, bucket=1)
    count, (_, tokens) = corpus.captions.pairs_in("train"), corpus.captions.tokens_in("train")
    counted = count if config.best == "cider" else count + tokens  # each caption has its end as well
    size = corpus.vocabulary.size
    return Plan.of(
        config,
        per_epoch,
        start_loss=math.log(size),
        explosion=3 * math.log(size) + 2 * config.even_attention,
        loss_scale=1,
        counted_per_step=round(counted / per_epoch),
    )


def _finish(run: Run, config: Config, corpus: Corpus, console: Console) -> keras.Model:
    """Scores the best model on the part that training never saw."""
    model = run.load_model()
    entries = corpus.pictures.entries("test")
    if entries:
        files = [corpus.pictures.picture("test", number) for number in range(len(entries))]
        figures = answers.judged(answers.of_run(config, model, corpus), files, [entry.captions for entry in entries])
        run.save_figures(**{f"test_{name}": value for name, value in figures.items()})
        console.say(f"{corpus.pictures.names['test']}: {answers.said(figures, len(files))}")
    console.say(f"model: {run.model_path}; in full: python -m rnnapps.captioning evaluate --run {run.folder}")
    return model


def tune(options: Tune) -> Any:
    """Trains with options from a space; prints and returns a table of the trials, the best first."""
    return tuning.tune("captioning", Config, train, options)


def evaluate(options: Evaluate) -> dict[str, Any]:
    """Prints and returns the scores of captions, beside those of two baselines."""
    return answers.evaluate(options)


def predict(options: Predict) -> list[list[str]]:
    """Prints and returns the captions of each picture, the best first."""
    return answers.predict(options)


def export(options: Export) -> Path:
    """Writes the run's model as a SavedModel; prints and returns its folder; prints that of the XLA form too."""
    run = Run(options.run, DATA)
    config, model = run.load_config(Config), run.load_model()
    corpus = build.load(run.data_path)
    search, grid = answers.search(options, config.max_length), build.grid(config, model)
    vocabulary = SentenceCodec(corpus.vocabulary)
    counts = {part: len(corpus.pictures.entries(part)) for part in ("train", "validation", "test")}
    manifest = {
        **run.manifest("captioning", config, _LOCAL),
        "data": {"learnt": learnt(config), **counts, "parts": corpus.pictures.names},
        "search": configs.to_dict(search),
        "max_length": config.max_length,
        "image_size": config.image_size,
        "grid": grid,
        "vocabulary": corpus.vocabulary.to_dict(),
    }  # fmt: skip
    name = options.name or learnt(config)

    def make(xla: bool) -> CaptionEndpoints:
        return CaptionEndpoints(model, vocabulary, grid, search, xla)

    paths = export_servables(make, options.output, name, manifest, options.xla)
    print(*paths, sep="\n")
    return paths[0]
