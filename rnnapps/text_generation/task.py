"""What text generation does: train, tune, evaluate, predict, export."""

import json
import math
import random
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from rnnapps import config as configs
from rnnapps import runtime
from rnnapps.data import text as windowed
from rnnapps.data.corpus import Corpus
from rnnapps.data.share import Share
from rnnapps.data.sources import DEFAULT_DATASET, USUAL_VALIDATION_FRACTION, VALIDATION_FRACTION, documents
from rnnapps.decoding import model_step, zero_states
from rnnapps.errors import UsageError
from rnnapps.files import read_lines, write_whole
from rnnapps.models.text_generator import text_generator
from rnnapps.neurons import liveliest, page
from rnnapps.sampler import Sampler, Sampling
from rnnapps.serving.export import export_servables
from rnnapps.serving.shipped import run_or_model
from rnnapps.serving.text_endpoints import TextEndpoints
from rnnapps.serving.text_model import TextModel
from rnnapps.serving.tokenization import TextCodec
from rnnapps.text_generation.config import RUN, SHIPPED_MODEL, Config, Evaluate, Export, Predict, Tune
from rnnapps.text_generation.sizes import described, fitted
from rnnapps.training import tuning
from rnnapps.training.console import Console
from rnnapps.training.distribution import Distribution, distribution
from rnnapps.training.evaluation import Evaluator, baselines
from rnnapps.training.lock import one_process
from rnnapps.training.log import Log
from rnnapps.training.loop import Loop, Plan
from rnnapps.training.metric import Nats
from rnnapps.training.optimizers import optimizer
from rnnapps.training.run import Run
from rnnapps.training.trainer import CarriedStateTrainer

_VALIDATION_TOKENS = 200_000  # at most, so that a validation takes seconds
_LOCAL = ("text",)  # says nothing elsewhere
# What the text in a run's folder, and the position in it, depend on.
_FIXED = (
    "dataset", "source", "text", "tokens", "validation_fraction", "test_fraction", "max_vocabulary", "batch_size",
    "steps",
)  # fmt: skip
_LISTED = 20  # of what was never seen
_VALIDATION_ROW = 2_000  # tokens a stream: what a cold start costs is spread over them


@one_process
def train(config: Config) -> keras.Model:
    """Trains a model in the folder `config.run`.

    Returns:
        The best model, in float32.

    Raises:
        UsageError: The options, the text or the folder are not usable.
        RunError: The loss exploded, or something could not be saved.
        KeyboardInterrupt: Ctrl-C; the run is saved.
    """
    runtime.check_gpu(config.check_gpu)
    runtime.seed_everything(config.seed)
    config = _resolve(config)
    spread = distribution(config.strategy, config.replicas)
    spread.rows(config.batch_size)
    run, console = Run(config.run), Console(Nats(counted=config.tokens), quiet=not spread.is_chief)
    with spread.chief_first():
        if config.resume:
            run.check_resumable(config, _FIXED)
        elif spread.is_chief:
            _begin(run, config, console)
    config = _as_begun(run, config)
    corpus = run.load_corpus()
    loop = _loop(run, config, corpus, console, spread)

    def batches(position: int, share: Share) -> Any:
        return windowed.windows(
            corpus, "train", config.batch_size, config.steps,
            position=position, share=share, cold_starts=config.cold_starts, seed=config.seed,
        )  # fmt: skip

    run.carry_out(loop, config, batches, f"{_learnt(config)}, {config.preset}", "validation_nats")
    run.stop_if_interrupted(loop)
    with spread.chief_first():  # the others stay, as a process that left would be missed
        return _finish(run, config, corpus, console) if spread.is_chief else run.load_model()


def _resolve(config: Config) -> Config:
    """Puts in what a default stands for, so that the run's config says it."""
    fraction = config.validation_fraction
    if fraction is None:
        fraction = USUAL_VALIDATION_FRACTION.get(config.dataset or "", VALIDATION_FRACTION)
    return configs.replace(config, validation_fraction=fraction, precision=runtime.precision(config.precision))


def _as_begun(run: Run, config: Config) -> Config:
    """The config with the sizes that fit its text."""
    begun = run.load_config(Config)
    return configs.replace(config, batch_size=begun.batch_size, steps=begun.steps)


def _begin(run: Run, asked: Config, console: Console) -> None:
    with run.new_folder(asked.overwrite) as scratch:
        corpus = _prepare(asked, scratch)
        config = fitted(asked, corpus.tokens_in("train"))
        # Asked before an older run is given up: the text may be too short.
        windowed.windows_per_epoch(corpus, "train", config.batch_size, config.steps)
        run.begin(config, corpus.folder)
    sizes = ", ".join(f"{corpus.tokens_in(split):,} {split}" for split in corpus.splits)
    console.say(f"{_learnt(config)}: {sizes} {config.tokens}s, vocabulary of {corpus.vocabulary.size}")
    for line in described(asked, config):
        console.say(line)


def _prepare(config: Config, scratch: Path) -> Corpus:
    sources = documents(
        config.dataset, config.source, config.text, scratch / "data" if config.source else config.data_dir
    )
    return Corpus.prepare(
        sources,
        scratch / "corpus",
        config.tokens,
        config.validation_fraction or 0.0,
        config.test_fraction,
        config.max_vocabulary,
    )


def _learnt(config: Config) -> str:
    return config.text[0].name if config.text else config.dataset or DEFAULT_DATASET


def _loop(run: Run, config: Config, corpus: Corpus, console: Console, spread: Distribution) -> Loop:
    with spread.scope():
        network = _network(config, corpus, dtype=config.precision)
        rows = spread.rows(config.batch_size)
        trainer = CarriedStateTrainer(network, rows, config.clip, config.clip_at, config.loss)
        updates = optimizer(config.optimizer, config.learning_rate, config.weight_decay)
        spread.compile(trainer, updates, jit_compile=runtime.jit_compile())
    # The same weights in float32 and with random numbers of its own: what is kept, validated and sampled from.
    model = _network(config, corpus)
    compiles = runtime.jit_compile()
    evaluator = Evaluator(model, jit_compile=compiles)
    sampler = Sampler(model_step(model), lambda rows: zero_states(model, rows), corpus.vocabulary, jit_compile=compiles)
    tokens = min(_VALIDATION_TOKENS, corpus.tokens_in("validation"))

    def validate() -> float | None:
        model.set_weights(network.get_weights())
        rows = min(32, max(1, tokens // _VALIDATION_ROW))
        return evaluator.nats_per_token(corpus, "validation", rows, tokens) if tokens else None

    def sample() -> str:
        model.set_weights(network.get_weights())
        return sampler.generate("", config.sample_length, Sampling(seed=config.seed))[0]

    plan = _plan(config, corpus)

    def keep() -> None:
        run.save_model(model)

    log = Log(run.folder)
    return Loop(trainer, plan, run.checkpoints, log, console, validate, keep, sample, spread)


def _plan(config: Config, corpus: Corpus) -> Plan:
    per_epoch = windowed.windows_per_epoch(corpus, "train", config.batch_size, config.steps)
    tokens_a_loss = config.steps if config.loss == "sum" else 1
    return Plan.of(
        config,
        per_epoch,
        start_loss=tokens_a_loss * math.log(corpus.vocabulary.size),
        explosion=2 * tokens_a_loss * math.log(corpus.vocabulary.size),
        loss_scale=tokens_a_loss,
        counted_per_step=config.batch_size * config.steps,
    )


def _network(config: Config, corpus: Corpus, dtype: str = "float32") -> keras.Model:
    options = ("cell", "units", "layers", "embedding", "dropout", "tied", "seed", "weight_scale")
    return text_generator(corpus.vocabulary.size, dtype=dtype, **{name: getattr(config, name) for name in options})


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
        _say_if_guessing_is_better("test", nats, baselines(corpus, "test"))
    console.say(f"model: {run.model_path}; write with it: python -m rnnapps.text_generation predict --run {run.folder}")
    return model


def tune(options: Tune) -> Any:
    """Trains with options from a space; prints and returns a table of the trials, the best first."""
    return tuning.tune("text_generation", Config, train, options)


def evaluate(options: Evaluate) -> dict[str, Any]:
    """Prints and returns the cost of a part of the run's text, or of the user's files, in nats and bits a token."""
    figures: dict[str, tuple[float, int | None]]
    if options.text:
        model = _text_model(options.run, options.model)
        figures = {str(path): model.score_file(path) for path in options.text}
        for path in options.text:
            _say_unseen(str(path), model.unseen_in(path))
        guessing = {"uniform": math.log(model.vocabulary.size)}
    elif options.model is not None:
        raise UsageError(f"--model {options.model} without --text: wanted --text FILE, since an export holds no text")
    else:
        run = Run(options.run or RUN)
        config, corpus = run.load_config(Config), run.load_corpus()
        if not corpus.tokens_in(options.split):
            raise UsageError(f"--split {options.split}: the run {run.folder} holds nothing out for it")
        nats = Evaluator(run.load_model()).nats_per_token(corpus, options.split)
        figures = {f"{_learnt(config)}, {options.split}": (nats, corpus.tokens_in(options.split))}
        guessing = baselines(corpus, options.split)
        figures |= {f"baseline {name}": (cost, None) for name, cost in guessing.items()}
    for name, (nats, tokens) in figures.items():
        if tokens is not None:
            _say_if_guessing_is_better(name, nats, guessing)
    rows = {
        name: {"nats": nats, "bits": nats / math.log(2), "perplexity": math.exp(nats), "tokens": tokens}
        for name, (nats, tokens) in figures.items()
    }
    if options.json:
        print(json.dumps(rows))
        return rows
    print(f"{'':32}{'nats':>10}{'bits':>10}{'perplexity':>12}{'tokens':>12}")
    for name, row in rows.items():
        count = "" if row["tokens"] is None else f"{row['tokens']:,}"
        print(f"{name:32}{row['nats']:10.4f}{row['bits']:10.4f}{row['perplexity']:12.3f}{count:>12}")
    return rows


def _say_unseen(what: str, unseen: Sequence[str]) -> None:
    """Says on standard error which tokens of a text the model cannot tell apart."""
    if unseen:
        listed = " ".join(map(repr, unseen[:_LISTED])) + (
            f" and {len(unseen) - _LISTED:,} more" if len(unseen) > _LISTED else ""
        )
        print(f"{what} holds {listed}, which the model has never seen and reads as unknown", file=sys.stderr)


def _say_if_guessing_is_better(name: str, nats: float, guessing: Mapping[str, float]) -> None:
    """Says so on standard error where a figure is worse than that of a baseline which knows nothing of the order."""
    baseline = "unigram" if "unigram" in guessing else "uniform"
    cost = guessing[baseline]
    if nats > cost:
        print(
            f"{name}: {nats:.4f} nats are worse than {cost:.4f}, the cost of guessing each token alone ({baseline}): "
            "the network has learnt nothing that helps here, so train longer, or on text of this kind",
            file=sys.stderr,
        )


def _text_model(run: Path | None, model: Path | None) -> TextModel:
    """The model that the options name, that of the usual run, or the shipped one."""
    folder, is_run = run_or_model(run, model, RUN, SHIPPED_MODEL)
    if not is_run:
        return TextModel.from_saved_model(folder)
    Run(folder).load_config(Config)  # a folder that is no run is the first thing to say
    return TextModel.from_keras(Run(folder).load_model(), Run(folder).load_corpus().vocabulary)


def predict(options: Predict) -> list[str]:
    """Prints and returns texts that go on from each prompt, without the prompt."""
    model = _text_model(options.run, options.model)
    sampler = Sampler(model.step, model.initial_states, model.vocabulary)
    seed = random.SystemRandom().randrange(2**31) if options.seed is None else options.seed
    sampling = Sampling(
        temperature=0.0 if options.greedy else options.temperature,
        top_k=options.top_k,
        top_p=options.top_p,
        min_p=options.min_p,
        repetition_penalty=options.repetition_penalty,
        stop=() if options.stop is None else (options.stop,),
        num_samples=options.num_samples,
        seed=seed,
    )
    prompts, written = _prompts(options), []
    for prompt in prompts:
        _say_unseen("the prompt", model.vocabulary.unseen(prompt))
        write = _stream if options.stream else Sampler.generate
        texts = write(sampler, prompt, options.length, sampling)
        for i, text in enumerate(texts):
            if options.json:
                print(json.dumps({"prompt": prompt, "text": text, "seed": seed + i}, ensure_ascii=False))
            elif not options.stream:
                print(f"{prompt}{text}")
        written += texts
    if options.show_neurons is not None:
        _show_neurons(options.show_neurons, options.units, sampler, prompts[0], written[0])
    return written


def _prompts(options: Predict) -> list[str]:
    if options.file is None:
        return [options.prompt]
    lines = read_lines("--file", options.file)
    if not lines:
        raise UsageError(f"--file {options.file} is empty: wanted one prompt a line")
    return lines


def _stream(sampler: Sampler, prompt: str, length: int, sampling: Sampling) -> list[str]:
    print(prompt, end="", flush=True)
    text = ""
    for (piece,) in sampler.stream(prompt, length, sampling):
        print(piece, end="", flush=True)
        text += piece
    print()
    return [text]


def _show_neurons(path: Path, chosen: tuple[int, ...], sampler: Sampler, prompt: str, text: str) -> None:
    last = max((name for name in sampler.initial_states(1) if name.endswith("_h")), key=lambda n: int(n.split("_")[1]))
    trace = sampler.trace(prompt + text, [last])
    pieces = [sampler.vocabulary.decode([token]) for token in trace.tokens]
    units = chosen or liveliest(trace.states[last])
    html = page(
        f"Hidden units of {last.removesuffix('_h')}", pieces, trace.states[last], units, trace.nats,
        len(sampler.vocabulary.encode(prompt)),
    )  # fmt: skip
    write_whole(path, lambda file: file.write_text(html, encoding="utf-8"))
    print(f"wrote {path}: units {', '.join(map(str, units))}", file=sys.stderr)


def export(options: Export) -> Path:
    """Writes the run's model as a SavedModel; prints and returns its folder; prints that of the XLA form too."""
    run = Run(options.run)
    config, corpus, model = run.load_config(Config), run.load_corpus(), run.load_model()
    codec = TextCodec(corpus.vocabulary)
    manifest = {
        **run.manifest("text_generation", config, _LOCAL),
        "data": {"learnt": _learnt(config), **{split: corpus.tokens_in(split) for split in corpus.splits}},
        "vocabulary": corpus.vocabulary.to_dict(),
    }
    name = options.name or Path(_learnt(config)).stem
    paths = export_servables(lambda xla: TextEndpoints(model, codec, xla), options.output, name, manifest, options.xla)
    print(*paths, sep="\n")
    return paths[0]
