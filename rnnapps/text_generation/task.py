"""What text generation does: train, evaluate, predict, export."""

import math
import shutil
from pathlib import Path

import keras

from rnnapps import config as configs
from rnnapps import runtime
from rnnapps.data import text as windowed
from rnnapps.data.corpus import Corpus
from rnnapps.data.sources import DEFAULT_DATASET, documents
from rnnapps.decoding import model_step, zero_states
from rnnapps.models.text_generator import text_generator
from rnnapps.sampler import Sampler, Sampling
from rnnapps.text_generation.config import Config
from rnnapps.training.console import Console
from rnnapps.training.evaluation import Evaluator
from rnnapps.training.log import Log
from rnnapps.training.loop import Loop, Plan
from rnnapps.training.run import Run
from rnnapps.training.trainer import CarriedStateTrainer

_VALIDATION_TOKENS = 200_000  # at most, so that a validation takes seconds
_VALIDATION_ROW = 2_000  # tokens a stream: what a cold start costs is spread over them


def train(config: Config) -> keras.Model:
    """Trains a model in the folder `config.run`.

    Returns:
        The best model, in float32.

    Raises:
        UsageError: The options, the text or the folder are not usable.
        RunError: The loss exploded, or something could not be saved.
        KeyboardInterrupt: Ctrl-C; the run is saved.
    """
    runtime.seed_everything(config.seed)
    run, console = Run(config.run), Console(config.tokens)
    corpus = _resume(run, config) if config.resume else _begin(run, config, console)
    loop = _loop(run, config, corpus, console)
    if config.resume:
        loop.resume()
        console.say(f"resuming {run.folder} after {loop.state.step} updates")
    batches = windowed.windows(corpus, "train", config.batch_size, config.steps, position=loop.state.step)
    state = loop.run(batches)
    loop.log.plot(run.folder / "learning_curve.png", f"{_learnt(config)}, {config.preset}")
    run.save_figures(training_seconds=round(state.seconds, 1), updates=state.step, validation_nats=state.best)
    if loop.interrupted:
        console.say(f"saved in {run.folder}; go on with --resume --run {run.folder}")
        raise KeyboardInterrupt
    return _finish(run, config, corpus, console)


def _begin(run: Run, config: Config, console: Console) -> Corpus:
    run.check_free(config.overwrite)
    corpus = _prepare(config, run.folder / "corpus.new")
    # Asked before an older run is given up: the text may be too short.
    windowed.windows_per_epoch(corpus, "train", config.batch_size, config.steps)
    run.begin(config, corpus.folder)
    sizes = ", ".join(f"{corpus.tokens_in(split):,} {split}" for split in corpus.splits)
    console.say(f"{_learnt(config)}: {sizes} {config.tokens}s, vocabulary of {corpus.vocabulary.size}")
    return run.load_corpus()


def _prepare(config: Config, folder: Path) -> Corpus:
    # A local copy is prepared anew for each run: a data set kept from another copy would be used in its place.
    data_dir = folder.with_name("data.new") if config.source else config.data_dir
    try:
        sources = documents(config.dataset, config.source, config.text, data_dir)
        return Corpus.prepare(
            sources, folder, config.tokens, config.validation_fraction, config.test_fraction, config.max_vocabulary
        )
    finally:
        if config.source:
            shutil.rmtree(data_dir, ignore_errors=True)


def _resume(run: Run, config: Config) -> Corpus:
    corpus = run.load_corpus()
    run.save_config(configs.replace(config, resume=False))
    return corpus


def _learnt(config: Config) -> str:
    return config.text[0].name if config.text else config.dataset or DEFAULT_DATASET


def _loop(run: Run, config: Config, corpus: Corpus, console: Console) -> Loop:
    network = _network(config, corpus, dtype=config.precision)
    trainer = CarriedStateTrainer(
        network, config.batch_size, config.clip, config.clip_at, config.loss, runtime.row_shards(config.batch_size)
    )
    trainer.compile(optimizer=_optimizer(config), jit_compile=False)
    # The same weights in float32 and with random numbers of its own: what is kept, validated and sampled from.
    model = _network(config, corpus)
    evaluator = Evaluator(model, jit_compile=False)
    sampler = Sampler(model_step(model), lambda rows: zero_states(model, rows), corpus.vocabulary, jit_compile=False)
    tokens = min(_VALIDATION_TOKENS, corpus.tokens_in("validation"))

    def validate() -> float | None:
        model.set_weights(network.get_weights())
        rows = min(32, max(1, tokens // _VALIDATION_ROW))
        return evaluator.nats_per_token(corpus, "validation", rows, tokens) if tokens else None

    def sample() -> str:
        model.set_weights(network.get_weights())
        return sampler.generate("", config.sample_length, Sampling(seed=config.seed))[0]

    plan = _plan(config, corpus)
    log = Log(run.folder)
    return Loop(trainer, plan, run.checkpoints, log, console, validate, lambda: run.save_model(model), sample)


def _plan(config: Config, corpus: Corpus) -> Plan:
    per_epoch = windowed.windows_per_epoch(corpus, "train", config.batch_size, config.steps)
    tokens_a_loss = config.steps if config.loss == "sum" else 1
    return Plan(
        minutes=config.minutes,
        steps=None if config.epochs is None else max(1, round(config.epochs * per_epoch)),
        peak=config.learning_rate,
        warmup_steps=config.warmup_steps,
        schedule=config.schedule,
        patience=config.patience,
        validate_every=config.validate_every,
        sample_every=config.sample_every,
        smoothing=config.smoothing,
        start_loss=tokens_a_loss * math.log(corpus.vocabulary.size),
        loss_scale=tokens_a_loss,
        tokens_per_step=config.batch_size * config.steps,
    )


def _network(config: Config, corpus: Corpus, dtype: str = "float32") -> keras.Model:
    return text_generator(
        corpus.vocabulary.size,
        config.cell,
        config.units,
        config.layers,
        config.embedding,
        config.dropout,
        config.tied,
        dtype=dtype,
        seed=config.seed,
        weight_scale=config.weight_scale,
    )


def _optimizer(config: Config) -> keras.optimizers.Optimizer:
    if config.optimizer == "adagrad":
        # Sums of squares start at nothing, with 1e-8 inside the root, as in min-char-rnn.
        return keras.optimizers.Adagrad(config.learning_rate, initial_accumulator_value=0.0, epsilon=1e-8)
    if config.optimizer == "adamw":
        return keras.optimizers.AdamW(config.learning_rate, weight_decay=config.weight_decay)
    classes = {"adam": keras.optimizers.Adam, "rmsprop": keras.optimizers.RMSprop}
    return classes[config.optimizer](config.learning_rate)


def _finish(run: Run, config: Config, corpus: Corpus, console: Console) -> keras.Model:
    """Scores the best model on the part that training never saw."""
    model = run.load_model()
    if corpus.tokens_in("test"):
        nats = Evaluator(model).nats_per_token(corpus, "test")
        run.save_figures(test_nats=nats, test_tokens=corpus.tokens_in("test"))
        console.say(
            f"test: {nats:.4f} nats/{config.tokens} ({nats / math.log(2):.4f} bits) on the last "
            f"{corpus.tokens_in('test'):,} {config.tokens}s, which training never saw"
        )
    console.say(f"model: {run.model_path}; write with it: python -m rnnapps.text_generation predict --run {run.folder}")
    return model
