"""Text generation from a text to a served model, verb after verb."""

import functools
import json
import math
import os
import re
import shutil
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from rnnapps.data.vocabulary import Vocabulary
from rnnapps.sampler import Sampler
from rnnapps.serving.capi import run_in_c_api
from rnnapps.text_generation import task
from rnnapps.text_generation.config import Evaluate, Export, Predict
from rnnapps.text_generation.task import evaluate, export, predict, train
from rnnapps.training import loop
from rnnapps.training.log import Log
from rnnapps.training.run import Run

pytestmark = pytest.mark.usefixtures("cheap_verbs", "loaded_once", "one_step_a_turn")


def only_line(err: str) -> str:
    assert err.count("\n") == 1, err
    return err.rstrip("\n")


# --- evaluate ---


def test_the_test_figure_is_the_one_that_training_measured(run, command):
    answer = command("evaluate --json --run", run)
    assert answer.status == 0 and answer.err == ""
    rows, figures = json.loads(answer.out), Run(run).load_figures()
    names = list(rows)
    assert names[0] == "sums.txt, test" and [name.split()[-1] for name in names[1:]] == ["uniform", "unigram", "bigram"]
    model = rows["sums.txt, test"]
    assert model["nats"] == pytest.approx(figures["test_nats"], rel=1e-6)
    assert model["tokens"] == figures["test_tokens"] == Run(run).load_corpus().tokens_in("test")
    for row in rows.values():
        assert row["bits"] == pytest.approx(row["nats"] / math.log(2))
        assert row["perplexity"] == pytest.approx(math.exp(row["nats"]))
    costs = [row["nats"] for row in rows.values()]
    assert costs[0] < costs[3] < costs[2] < costs[1]  # it learnt more than pairs of characters
    table = command("evaluate --run", run).out
    for name, row in rows.items():
        assert re.search(rf"{re.escape(name)}\s+{row['nats']:.4f}\s+{row['bits']:.4f}\s", table), name
    assert f"{model['tokens']:,}" in table


@pytest.fixture(params=["run", "export"])
def kind(request, run, exported) -> dict[str, Path]:
    """What an option of `predict` and `evaluate` names."""
    return {"run": {"run": run}, "export": {"model": exported.parent}}[request.param]


@pytest.fixture
def held_out(run, tmp_path) -> Path:
    """A file of the text that training never saw."""
    corpus = Run(run).load_corpus()
    (span,) = corpus.spans("test")
    path = tmp_path / "held_out.txt"
    path.write_text(corpus.vocabulary.decode(corpus.read(*span)), encoding="utf-8")
    return path


def test_a_text_costs_as_a_file_what_it_did_as_a_part_of_the_data(run, kind, held_out):
    figures = Run(run).load_figures()
    (row,) = evaluate(Evaluate(text=(held_out,), **kind)).values()
    assert row["nats"] == pytest.approx(figures["test_nats"], rel=1e-5) and row["tokens"] == figures["test_tokens"]


def test_a_text_costs_the_same_at_the_endpoint(run, signatures, held_out):
    answer = signatures["score"](text=tf.constant([held_out.read_bytes()]))
    assert float(answer["nats_per_char"][0]) == pytest.approx(Run(run).load_figures()["test_nats"], rel=1e-5)


def test_files_of_one_name_are_scored_apart(run, tmp_path):
    for folder, text in (("a", "1 times 2 is 2"), ("b", "zebra")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "text.txt").write_text(text)
    rows = evaluate(Evaluate(run=run, text=(tmp_path / "a" / "text.txt", tmp_path / "b" / "text.txt")))
    assert sorted(row["tokens"] for row in rows.values()) == [5, 14]


@pytest.mark.parametrize("split", ["validation", pytest.param("train", marks=pytest.mark.full)])
def test_the_other_parts(run, split):
    rows = evaluate(Evaluate(run=run, split=split))
    assert rows[f"sums.txt, {split}"]["tokens"] == Run(run).load_corpus().tokens_in(split)


# --- predict ---


def test_a_seed_is_a_text(run, command):
    first, again, other = (command(f"predict --length 60 --seed {seed} --run", run) for seed in (1, 1, 2))
    assert first.status == 0 and first.err == "" and first == again != other
    assert len(first.out) == 61 and first.out.endswith("\n")
    free = {command("predict --length 60 --run", run).out for _ in range(2)}
    assert len(free) == 2  # without a seed, a new one every time


def test_the_run_the_export_and_the_endpoint_write_one_text(kind, signatures, monkeypatch):
    inputs = {"prompt": [b"12 times"], "num_chars": [150], "temperature": np.float32([0.9]), "seed": [7]}
    answer = signatures["serving_default"](**{name: tf.constant(value) for name, value in inputs.items()})
    monkeypatch.setattr(task, "Sampler", Sampler)  # as it is: compiled by XLA
    (text,) = predict(Predict(prompt="12 times", length=150, seed=7, temperature=0.9, **kind))
    assert text == answer["text"].numpy()[0].decode() and len(text) == 150


@functools.cache
def probabilities(run, text):
    """Symbols from the likeliest on, and p of every symbol, after `text`: by one plain pass of the whole text."""
    model, vocabulary = Run(run).load_model(), Run(run).load_corpus().vocabulary
    tokens = np.append(0, vocabulary.encode(text))[None].astype("int32")
    cold = {
        name: np.zeros((1, tensor.shape[-1]), "float32") for name, tensor in model.input.items() if name != "tokens"
    }
    logits = np.array(model({"tokens": tokens, **cold})["logits"])[0, -1, 1:]
    order = [vocabulary.decode([i + 1]) for i in np.argsort(-logits)]
    p = np.exp(logits - logits.max())
    return order, dict(zip((vocabulary.decode([i + 1]) for i in range(len(p))), p / p.sum(), strict=True))


PROMPT = "23 times 24 is "  # many digits may follow


def next_ones(run, n=300, **options):
    """Which characters are drawn right after a prompt."""
    return set(predict(Predict(run=run, prompt=PROMPT, length=1, seed=0, num_samples=n, temperature=2.0, **options)))


@pytest.fixture
def hot(run):
    """Symbols from the likeliest on, with their probabilities at temperature 2."""
    order, p = probabilities(run, PROMPT)
    total = sum(math.sqrt(value) for value in p.values())
    return {symbol: math.sqrt(p[symbol]) / total for symbol in order}


def test_without_a_filter_many_are_drawn(run, hot):
    assert 6 < len(next_ones(run)) <= len(hot)


def test_top_k_keeps_the_likeliest(run, hot):
    assert next_ones(run, top_k=3) == set(list(hot)[:3])


def test_top_p_keeps_what_reaches_it(run, hot):
    nucleus, reached = set(), 0.0
    for symbol, p in hot.items():
        if reached < 0.6:
            nucleus.add(symbol)
            reached += p
    assert next_ones(run, top_p=0.6) == nucleus and 1 < len(nucleus) < 10


def test_min_p_keeps_what_is_near_the_likeliest(run, hot):
    first, _, third, *_ = hot.values()
    assert next_ones(run, min_p=third / first * 0.999) == set(list(hot)[:3])


def test_greedy_is_temperature_zero_and_needs_no_seed(run):
    texts = [predict(Predict(run=run, length=80, seed=seed, **kind)) for seed, kind in
             ((1, {"greedy": True}), (2, {"greedy": True}), (3, {"temperature": 0.0}), (4, {"top_k": 1}))]  # fmt: skip
    assert all(text == texts[0] for text in texts)
    assert next_ones(run, greedy=True) == {probabilities(run, PROMPT)[0][0]}
    prompt = texts[0][0][:20]
    assert probabilities(run, prompt)[0][0] == texts[0][0][20]


def test_a_repetition_penalty_leads_to_other_characters(run):
    plain, penalised = (predict(Predict(run=run, length=60, greedy=True, repetition_penalty=r))[0] for r in (1.0, 50.0))
    assert len(set(penalised)) > len(set(plain))


def test_stop_ends_the_text_before_it(run, command):
    whole = predict(Predict(run=run, length=120, seed=5))[0]
    assert "\n" in whole[5:]
    stop = whole[20:23]
    assert predict(Predict(run=run, length=120, seed=5, stop=stop)) == [whole[: whole.index(stop)]]
    assert predict(Predict(run=run, length=120, seed=5, stop="never written")) == [whole]
    answer = command("predict --length 9 --seed 5 --run", run, ["--stop", whole[0]])
    assert (answer.status, answer.out) == (0, "\n")


def test_several_samples_are_those_of_the_seeds_that_follow(run):
    options = {"run": run, "prompt": "5 ", "length": 40}
    several = predict(Predict(seed=10, num_samples=3, **options))
    assert several == [predict(Predict(seed=10 + i, **options))[0] for i in range(3)] and len(set(several)) == 3


def test_a_stream_prints_the_same_text_as_it_grows(run, command, monkeypatch):
    options = "predict --prompt='8 times' --length 300 --seed 2 --run"
    whole, streamed = command(options, run), command(options, run, "--stream")
    assert streamed == whole and len(whole.out) == len("8 times") + 300 + 1
    written = []

    class Out:
        def write(self, text):
            written.append(text)

        def flush(self):
            written.append(None)

    monkeypatch.setattr(sys, "stdout", Out())
    predict(Predict(run=run, prompt="8 times", length=300, seed=2, stream=True))
    flushes = [i for i, text in enumerate(written) if text is None]
    assert len(flushes) >= 3 and "".join(text for text in written if text) == whole.out


def test_json_lines_and_a_file_of_prompts(run, command, tmp_path):
    prompts = ["1 times", "", 'say "n\u00e9"']
    path = tmp_path / "prompts.txt"
    path.write_text("\n".join(prompts) + "\n", encoding="utf-8")
    answer = command("predict --json --num-samples 2 --length 25 --seed 4 --run", run, "--file", path)
    lines = [json.loads(line) for line in answer.out.splitlines()]
    assert answer.status == 0
    assert [(line["prompt"], line["seed"]) for line in lines] == [(p, seed) for p in prompts for seed in (4, 5)]
    for line in lines:
        assert predict(Predict(run=run, prompt=line["prompt"], length=25, seed=line["seed"])) == [line["text"]]
    plain = command("predict --num-samples 2 --length 25 --seed 4 --run", run, "--file", path)
    assert plain.out == "".join(line["prompt"] + line["text"] + "\n" for line in lines)


def test_characters_that_were_never_seen_are_named(run, command):
    answer = command("predict --length 5 --seed 1 --run", run, ["--prompt", "7 \u03a9\u4e2d"])
    assert answer.status == 0 and answer.out.startswith("7 \u03a9\u4e2d")
    assert "'\u03a9' '\u4e2d'" in only_line(answer.err) and "7" not in answer.err
    assert command("predict --length 5 --prompt='7 n\u00e9' --run", run).err == ""


def test_neurons_are_a_page_of_the_text(run, command, tmp_path):
    path = tmp_path / "pages" / "neurons.html"
    answer = command("predict --length 30 --seed 1 --prompt='3 times' --units 2 11 --run", run, "--show-neurons", path)
    assert answer.status == 0 and str(path) in only_line(answer.err)
    page = path.read_text(encoding="utf-8")
    assert page.startswith("<!doctype html>") or page.lower().startswith("<!doctype html>")
    text = re.sub(r"<[^>]*>", "", page)
    assert "layer_1" in page  # the last one
    assert len(re.findall(r"<section", page)) == 3 and "Unit 2" in text and "Unit 11" in text
    assert os.listdir(path.parent) == ["neurons.html"]
    bad = command("predict --length 5 --units 16 --run", run, "--show-neurons", path)
    assert bad.status == 2 and only_line(bad.err) == "error: there is no hidden unit 16: wanted 0 to 15"
    assert path.read_text(encoding="utf-8") == page


# --- export ---


def test_an_export_is_a_version_with_a_manifest(run, exported):
    assert exported.parts[-2:] == ("sums", "1")
    written = [predict(Predict(model=path, length=9, seed=1)) for path in (exported, exported.parent)]
    assert written[0] == written[1], "a folder of versions stands for its highest"
    manifest = json.loads((exported / "manifest.json").read_text())
    assert manifest["task"] == "text_generation" and manifest["seed"] == manifest["config"]["seed"] == 3
    assert set(manifest["endpoints"]) == {"serving_default", "score", "step"}
    assert manifest["figures"] == Run(run).load_figures() and manifest["figures"]["training_seconds"] > 0
    corpus = Run(run).load_corpus()
    assert {split: manifest["data"][split] for split in corpus.splits} == {
        s: corpus.tokens_in(s) for s in corpus.splits
    }
    assert Vocabulary.from_dict(manifest["vocabulary"]) == corpus.vocabulary
    assert manifest["versions"]["tensorflow"] == tf.__version__ and manifest["versions"]["keras"] == keras.__version__


def test_an_export_prints_its_folder_which_is_the_next_version(other_exported):
    printed = other_exported.parents[1] / "printed.txt"
    assert printed.read_text(encoding="utf-8") == f"{other_exported}\n" and other_exported.parts[-2:] == ("sums", "2")


@pytest.mark.full
def test_exports_one_after_the_other(run, command, tmp_path):
    for version in ("1", "2"):
        answer = command("export --name other --output", tmp_path, "--run", run)
        assert (answer.status, answer.out) == (0, f"{tmp_path / 'other' / version}\n")
    assert predict(Predict(model=tmp_path / "other", length=20, seed=1)) == predict(Predict(run=run, length=20, seed=1))


_ELSEWHERE = """
import json, sys
import tensorflow as tf
signatures = tf.saved_model.load(sys.argv[1]).signatures
text = signatures["serving_default"](
    prompt=tf.constant(["12 times", ""]), num_chars=tf.constant([50, 3]),
    temperature=tf.constant([0.9, 0.9]), seed=tf.constant([7, 7]),
)["text"].numpy()
score = signatures["score"](text=tf.constant(["1 times 2 is 2"]))
states = {f"layer_{i}_{s}": tf.zeros((1, 16)) for i in range(2) for s in "hc"}
logits = signatures["step"](tokens=tf.constant([0]), **states)["logits"].numpy()[0].tolist()
print(json.dumps([[t.decode() for t in text], float(score["nats_per_char"][0]), int(score["num_chars"][0]), logits]))
"""


def expected_answers(run, tmp_path):
    path = tmp_path / "line.txt"
    path.write_text("1 times 2 is 2")
    (row,) = evaluate(Evaluate(run=run, text=(path,))).values()
    texts = [predict(Predict(run=run, prompt=prompt, length=length, seed=7, temperature=0.9))[0]
             for prompt, length in (("12 times", 50), ("", 3))]  # fmt: skip
    return texts, row["nats"]


def assert_same_logits(run, logits):
    """Those of the first token, which the `step` endpoint gives."""
    _, p = probabilities(run, "")
    shown = np.exp(logits[1:] - logits[1:].max())
    np.testing.assert_allclose(shown / shown.sum(), list(p.values()), rtol=1e-4, atol=1e-6)


def test_it_answers_where_neither_rnnapps_nor_keras_can_be_imported(run, exported, awake, tmp_path):
    texts, nats, count, logits = json.loads(awake.run(_ELSEWHERE, exported))
    wanted, cost = expected_answers(run, tmp_path)
    assert texts == wanted and nats == pytest.approx(cost, rel=1e-5) and count == 14
    assert_same_logits(run, np.array(logits))


@pytest.mark.full
@pytest.mark.skipif(sys.platform != "linux", reason="the check in TensorFlow's C API runs on linux")
def test_it_answers_in_the_c_api(run, exported, tmp_path):
    write = {"prompt": ["12 times", ""], "num_chars": [50, 3], "temperature": [0.9, 0.9], "seed": [7, 7]}
    score = {"text": ["1 times 2 is 2"]}
    states = {f"layer_{i}_{s}": np.zeros((1, 16), np.float32) for i in range(2) for s in "hc"}
    requests = [("serving_default", write), ("score", score), ("step", {"tokens": np.zeros(1, np.int32), **states})]
    written, scored, stepped = run_in_c_api(exported, requests)
    wanted, cost = expected_answers(run, tmp_path)
    assert [text.decode() for text in written["text"]] == wanted
    assert scored["nats_per_char"][0] == pytest.approx(cost, rel=1e-5)
    assert_same_logits(run, stepped["logits"][0])


# --- other tokens, cells and options ---


def test_words_in_half_precision_are_scored(other_run):
    model, figures = Run(other_run).load_model(), Run(other_run).load_figures()
    assert {w.dtype.name for w in model.get_weights()} == {"float32"} and model.compute_dtype == "float32"
    assert Run(other_run).load_corpus().vocabulary.kind == "word"
    model_row, *others = evaluate(Evaluate(run=other_run)).values()
    assert model_row["nats"] == pytest.approx(figures["test_nats"], rel=1e-6) and len(others) == 3
    assert model_row["nats"] < others[0]["nats"] * 0.9


@pytest.mark.full
def test_words_in_half_precision_are_written_and_exported(other_run, other_exported, tmp_path, command):
    check_forms(other_run, other_exported, Run(other_run).load_corpus().vocabulary, tmp_path)
    answer = command("predict --length 5 --seed 1 --run", other_run, ["--prompt", "3 times zebra"])
    assert answer.status == 0 and answer.out.startswith("3 times zebra") and "zebra" in only_line(answer.err)


def check_forms(run, exported, vocabulary, tmp_path):
    """The run and its export write one text, and say the same of another."""
    options = {"prompt": "3 times 4 n\u00e9", "length": 40, "seed": 11, "top_k": 5}
    (text,) = predict(Predict(run=run, **options))
    assert predict(Predict(model=exported, **options)) == [text]
    assert text and vocabulary.encode(text).all()  # never the unseen one
    file = tmp_path / "line.txt"
    file.write_text(options["prompt"], encoding="utf-8")
    kinds: tuple[dict, ...] = ({"run": run}, {"model": exported})
    costs = [next(iter(evaluate(Evaluate(text=(file,), **kind)).values())) for kind in kinds]
    assert costs[0]["nats"] == pytest.approx(costs[1]["nats"], rel=1e-5)
    assert costs[0]["tokens"] == len(vocabulary.encode(options["prompt"]))


@pytest.mark.full
@pytest.mark.parametrize(
    "changes",
    [
        {"tokens": "byte", "cell": "gru"},
        {"tokens": "word", "cell": "simple_rnn", "embedding": 8, "max_vocabulary": 60, "epochs": 4},
        {"precision": "mixed_bfloat16", "embedding": 16, "tied": True, "dropout": 0.1, "optimizer": "adamw",
         "weight_decay": 0.01, "clip": "norm"},
    ],
    ids=["byte gru", "word simple_rnn", "mixed tied"],
)  # fmt: skip
def test_every_verb_with_other_options(changes, make_config, tmp_path, command):
    config = make_config(tmp_path, **changes)
    model = train(config)
    assert {w.dtype.name for w in model.get_weights()} == {"float32"} and model.compute_dtype == "float32"
    vocabulary = Run(config.run).load_corpus().vocabulary
    assert vocabulary.kind == config.tokens
    rows = evaluate(Evaluate(run=config.run))
    model_row, *others = rows.values()
    assert model_row["nats"] == pytest.approx(Run(config.run).load_figures()["test_nats"], rel=1e-6)
    assert model_row["nats"] < rows["baseline uniform"]["nats"] * 0.9 and len(others) == 3
    path = export(Export(run=config.run, output=tmp_path / "models", name="kind"))
    check_forms(config.run, path, vocabulary, tmp_path)
    answer = command("predict --length 5 --seed 1 --run", config.run, ["--prompt", "3 times zebra"])
    assert answer.status == 0 and answer.out.startswith("3 times zebra")
    assert "zebra" in only_line(answer.err) if config.tokens == "word" else "'a' 'b' 'r' 'z'" in only_line(answer.err)


def test_training_shows_progress_and_samples_on_standard_error(make_config, tmp_path, command):
    make_config(tmp_path)  # writes the text
    smaller = "train --preset tiny --cell simple_rnn --steps 4 --batch-size 16 --validation-fraction 0"
    answer = command(
        smaller,
        "--epochs 1 --sample-every 40 --sample-length 20 --text",
        tmp_path / "sums.txt",
        "--run",
        tmp_path / "run",
    )
    assert (answer.status, answer.out) == (0, "")
    updates = Run(tmp_path / "run").load_figures()["updates"]
    assert answer.err.count("--- written after ") == updates // 40 > 1
    assert "nats/char" in answer.err and "bits" in answer.err and "test: " in answer.err
    lines = [line for line in Log(tmp_path / "run").read() if "loss" in line]
    assert [line["step"] for line in lines] == list(range(50, updates + 1, 50))


def test_a_budget_that_is_spent_loses_nothing(other_run, command, tmp_path):
    own = Path(shutil.copytree(other_run, tmp_path / "own"))
    assert command("train --resume --epochs 1.9 --run", own).status == 0
    assert Run(own).load_figures()["updates"] == Run(other_run).load_figures()["updates"]
    for name in ("checkpoints/last.npz", "model.keras"):
        assert (own / name).read_bytes() == (other_run / name).read_bytes()


def test_a_few_letters_are_learnt_by_heart(learn_by_heart, make_config, tmp_path, monkeypatch):
    monkeypatch.setattr(loop, "_LOG_EVERY", 20)
    config = make_config(tmp_path, units=32, steps=8, epochs=30, learning_rate=0.03)
    assert learn_by_heart(config, 32) < 0.4
