"""What a trained translator is asked: scores of a part of its pairs, and translations of what a user gives."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from rnnapps.data.pair_corpus import PairCorpus
from rnnapps.data.pair_sources import read_pairs
from rnnapps.decoding import Search
from rnnapps.errors import UsageError
from rnnapps.files import read_lines, write_whole
from rnnapps.serving.sentence_writer import Draws
from rnnapps.serving.shipped import run_or_model
from rnnapps.serving.translation_model import TranslationModel
from rnnapps.serving.writer_model import Answer
from rnnapps.training.run import Run
from rnnapps.training.translation_scores import by_length, scores
from rnnapps.translation.alignment import plot
from rnnapps.translation.build import DATA, learnt, load_vocabularies
from rnnapps.translation.config import SHIPPED_MODEL, Config, Evaluate, Predict
from rnnapps.translation.long_sentences import in_parts, joined
from rnnapps.translation.verbs import RUN, Decoding


def translation_model(run: Path | None, model: Path | None) -> TranslationModel:
    """The model that the options name, that of the usual run, or the shipped one."""
    folder, is_run = run_or_model(run, model, RUN, SHIPPED_MODEL)
    if not is_run:
        return TranslationModel.from_saved_model(folder)
    found = Run(folder, DATA)
    config = found.load_config(Config)  # a folder that is no run is the first thing to say
    return TranslationModel.from_keras(found.load_model(), load_vocabularies(found.data_path), config.max_length)


def search(options: Decoding, max_length: int, **more: Any) -> Search:
    """The search that the options of a verb mean."""
    same = ("beam", "length_penalty", "coverage_penalty", "no_repeat_ngram")
    return Search(max_length=max_length, **{name: getattr(options, name) for name in same}, **more)


def judged(model: TranslationModel, sources: Sequence[str], targets: Sequence[str]) -> tuple[dict[str, Any], str]:
    """Scores of the best translations by a beam of 5, and a sentence that says them."""
    found = model.texts(model.translate(sources, Search(max_length=model.max_length)))
    figures = scores(found, targets)
    sentence = (
        f"BLEU {figures['bleu']:.1f}, chrF {figures['chrf']:.1f}, {figures['exact']:.1%} exactly right, of "
        f"{len(found):,} sentences that training never saw"
    )
    return figures, sentence


def evaluate(options: Evaluate) -> dict[str, Any]:
    """As `task.evaluate`."""
    name, sources, targets = _pairs_to_score(options)
    model = translation_model(options.run if options.pairs else options.run or RUN, options.model)
    answers = model.translate(sources, search(options, model.max_length), batch_size=options.batch_size)
    found = model.texts(answers)
    if options.output is not None:
        text = "".join(f"{one}\n" for one in found)
        write_whole(options.output, lambda path: path.write_text(text, encoding="utf-8"))
    how = (options.lowercase, options.tokenize)
    table: dict[str, Any] = {name: scores(found, targets, *how), "baseline copy": scores(sources, targets, *how)}
    lengths = by_length(sources, found, targets, *how) if options.by_length else {}
    if options.json:
        print(json.dumps({**table, "by_length": lengths} if lengths else table, ensure_ascii=False))
        return table
    print(f"{'':40}{'BLEU':>8}{'chrF':>8}{'exact':>9}{'pairs':>9}")
    for label, row in (*((label, {**row, "pairs": len(found)}) for label, row in table.items()), *lengths.items()):
        label = f"  {label} words" if label in lengths else label
        print(f"{label:40}{row['bleu']:8.2f}{row['chrf']:8.2f}{row['exact']:9.2%}{row['pairs']:9,}")
    for metric in ("bleu", "chrf"):
        print(f"{metric}: {table[name][f'{metric}_signature']}")
    return table


def _pairs_to_score(options: Evaluate) -> tuple[str, list[str], list[str]]:
    if options.pairs:
        notes: list[str] = []
        sources, targets = read_pairs(options.pairs, options.aligned, notes)
        for note in notes:
            print(note, file=sys.stderr)
        return options.pairs[0].name, sources, targets
    if options.model is not None:
        raise UsageError(
            f"--model {options.model} without --pairs: wanted --pairs FILE, since an export holds no pairs"
        )
    run = Run(options.run or RUN, DATA)
    config = run.load_config(Config)
    sources, targets = PairCorpus.open(run.data_path).texts(options.split)
    if not sources:
        raise UsageError(f"--split {options.split}: the run {run.folder} holds nothing out for it")
    return f"{learnt(config)}, {options.split}", sources, targets


def predict(options: Predict) -> list[list[str]]:
    """As `task.predict`."""
    model = translation_model(options.run, options.model)
    how = _how(options, model.max_length)
    written = []
    for number, (sentence, parts, answers) in enumerate(_answered(model, how, options)):
        if number == 0 and options.plot_attention is not None:
            plot(options.plot_attention, answers[0])
        of_parts = [[text.decode("utf-8") for text in answer["translation"]] for answer in answers]
        texts = [joined(some) for some in zip(*of_parts, strict=True)]
        if any(answer["truncated"][0] for answer in answers):
            print(
                f"translation {number + 1} ran to its limit of --max-length {how.max_length} tokens, or of twice as "
                f"many as its source has, so that it may be cut: the source has {sum(model.lengths(parts)):,}",
                file=sys.stderr,
            )
        _print(options, number, sentence, texts, answers)
        written.append(texts)
    return written


def _answered(
    model: TranslationModel, how: Search | Draws, options: Predict
) -> Iterator[tuple[str, list[str], list[Answer]]]:
    """Sentences, the parts in which they are translated where they are longer than --max-length, and their answers."""

    def parts(sentence: str) -> list[str]:
        # The best of parts are no best of the whole, and a prefix is that of the whole.
        if (options.nbest > 1 and not options.sample) or options.prefix is not None:
            return [sentence]
        return in_parts(sentence, how.max_length - 1, model.lengths)

    # Always with alignments: a token that the vocabulary lacks is copied from where it looked.
    asked, read = _sentences(options)
    if read is not None:
        for sentence in read:
            some = parts(sentence)
            yield sentence, some, list(model.stream(iter(some), how, options.prefix, align=True))
        return
    cut = [parts(sentence) for sentence in asked]
    answers = iter(model.translate(sum(cut, []), how, options.prefix, options.batch_size, align=True))
    for sentence, some in zip(asked, cut, strict=True):
        yield sentence, some, [next(answers) for _ in some]


def _how(options: Predict, longest: int) -> Search | Draws:
    max_length = options.max_length or longest
    if not options.sample:
        grouped = {"groups": options.groups, "diversity": options.diversity} if options.groups > 1 else {}
        return search(options, max_length, min_length=options.min_length, num_best=options.nbest, **grouped)

    same = ("temperature", "top_k", "top_p", "min_p", "seed")
    return Draws(options.nbest, max_length, **{name: getattr(options, name) for name in same})


def _sentences(options: Predict) -> tuple[list[str], Iterator[str] | None]:
    """All at once; or none, and those of standard input as they come."""
    if options.sentence is not None:
        return [options.sentence], None
    if options.file is None:
        return [], _lines_of_standard_input()
    return read_lines("--file", options.file), None


def _lines_of_standard_input() -> Iterator[str]:
    try:
        for number, line in enumerate(sys.stdin):
            yield (line if number else line.removeprefix("\ufeff")).rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise UsageError(f"standard input is not UTF-8 text at byte {error.start} of what was left of it") from None


def _print(options: Predict, number: int, sentence: str, texts: list[str], answers: list[Answer]) -> None:
    if not options.json:
        of = "" if options.sentence is not None else f"{number + 1}\t"  # several answers, of several sentences
        for i, text in enumerate(texts):
            score = sum(float(answer["score"][i]) for answer in answers) / len(answers)
            print(f"{of}{score:8.4f}  {text}" if options.nbest > 1 else text, flush=True)
        return
    each = [_as_json(answer) for answer in answers]
    truncated = any(one["truncated"] for one in each)
    # Of several parts, each has its own score and alignment.
    found = each[0] if len(each) == 1 else {"translation": texts[0], "truncated": truncated, "parts": each}
    print(json.dumps({"sentence": sentence, **found}, ensure_ascii=False), flush=True)


def _as_json(answer: Answer) -> dict[str, Any]:
    texts = [text.decode("utf-8") for text in answer["translation"]]
    one: dict[str, Any] = {"translation": texts[0], "score": float(answer["score"][0])}
    if len(texts) > 1:
        scored = zip(texts, answer["score"], answer["log_prob"], strict=True)
        one["nbest"] = [{"translation": t, "score": float(s), "log_prob": float(p)} for t, s, p in scored]
    pieces = [piece.decode("utf-8") for piece in answer["pieces"] if piece]
    source = [piece.decode("utf-8") for piece in answer["source_pieces"] if piece]
    looks = answer["alignment"][: len(pieces), : len(source)]
    return one | {
        "truncated": bool(answer["truncated"][0]),
        "pieces": pieces,
        "source_pieces": source,
        "alignment": [[round(float(w), 4) for w in row] for row in looks],
    }
