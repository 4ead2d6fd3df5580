"""The mean loss over an epoch is the plain formula, computed from the model's scores with torch's own functions."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch.nn import functional

from tests.properties.families import FAMILIES, SENTIMENT, batch_of
from tformer_cli import tasks

FAMILY = {family.name: family for family in FAMILIES}
SMOOTHING = 0.1
CERTAIN = ["model.dropout=0", "model.attention_dropout=0", "model.ffn_dropout=0"]
NSP = [
    "bert.nsp=true",
    "data.source=files",
    "data.size=0",
    "data.documents=blank",
    "model.max_length=24",
    "tokenizer.vocab_size=40",
]


def prepared(name: str, folder: Path, *more: str, smoothing: float = SMOOTHING):
    """The task, and a model whose scores are far from even."""
    config = FAMILY[name].config(folder, *CERTAIN, f"optim.label_smoothing={smoothing}", *more)
    task = tasks.build(config)
    task.prepare(folder)
    torch.manual_seed(0)
    model = task.model().requires_grad_(False)
    for value in model.parameters():
        value.add_(0.3 * torch.randn_like(value))
    return task, model


def epoch(task) -> list:
    return [batch_of(task, "train", 0, index) for index in range(task.view("train").num_batches)]


def check(task, model, plain) -> None:
    """`plain(smoothing)` is the mean loss; smoothing is of training alone."""
    for training in (False, True):
        model.train(training)
        losses = [task.loss(model, batch) for batch in epoch(task)]
        mean = sum(float(loss.total) for loss in losses) / sum(int(loss.count) for loss in losses)
        assert mean == pytest.approx(float(plain(SMOOTHING if training else 0.0)), rel=1e-5)


def rows_of_sentiment() -> list[tuple[str, str]]:
    lines = Path(SENTIMENT).read_text(encoding="utf-8").splitlines()[1:]
    return [tuple(line.split("\t")) for line in lines]


def table(folder: Path, header: str, rows) -> str:
    lines = [header, *("\t".join(map(str, row)) for row in rows)]
    (folder / "train.tsv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return f"data.path={folder / 'train.tsv'}"


def labels_and_scores(task, model):
    """The labels as they stand in the data, and the scores (N, outputs) of the same rows."""
    labels, scores = [], []
    for batch in epoch(task):
        labels += [task.data.split("train").labels[row] for row in batch.sample_ids.tolist()]
        scores.append(model(batch.tokens, batch.lengths, batch.segments))
    assert len(labels) == len(task.data.split("train"))
    return labels, torch.cat(scores)


@pytest.mark.parametrize("weighted", [False, True])
def test_labels(weighted, tmp_path):
    rows = [row for i, row in enumerate(rows_of_sentiment()) if row[1] == "positive" or i % 5 == 0]
    path = table(tmp_path, "text\tlabel", rows)
    task, model = prepared("text classification", tmp_path, path, f"head.class_weights={str(weighted).lower()}")
    labels, scores = labels_and_scores(task, model)
    targets = torch.tensor([["negative", "positive"].index(label) for label in labels])
    shares = targets.bincount() / len(targets)
    assert float(shares.max()) > 0.55  # so that weights count
    weights = 1 / (2 * shares) if weighted else torch.ones(2)  # their mean over all texts is 1
    check(task, model, lambda e: functional.cross_entropy(scores, targets, weights, label_smoothing=e))


def test_pairs(tmp_path):
    rows = rows_of_sentiment()
    pairs = [(text, rows[7 * i % len(rows)][0], "abc"[i % 3]) for i, (text, _) in enumerate(rows)]
    path = table(tmp_path, "text\tother\tlabel", pairs)
    task, model = prepared("text classification", tmp_path, path, "data.second=other")
    labels, scores = labels_and_scores(task, model)
    targets = torch.tensor(["abc".index(label) for label in labels])
    check(task, model, lambda e: functional.cross_entropy(scores, targets, label_smoothing=e))


def test_numbers(tmp_path):
    path = table(tmp_path, "text\tlabel", [(text, len(text) / 10) for text, _ in rows_of_sentiment()])
    task, model = prepared("text classification", tmp_path, path, "data.target=number", smoothing=0)
    labels, scores = labels_and_scores(task, model)
    check(task, model, lambda _: functional.mse_loss(scores[:, 0], torch.tensor(list(map(float, labels)))))


def test_several_labels(tmp_path):
    names = ["a", "film", "good", "the"]
    rows = [(text, ",".join(name for name in names if name in text.split())) for text, _ in rows_of_sentiment()]
    path = table(tmp_path, "text\tlabel", rows)
    task, model = prepared("text classification", tmp_path, path, "data.target=labels")
    labels, scores = labels_and_scores(task, model)
    used = [name for name in names if any(name in label.split(",") for label in labels)]
    assert len(used) > 2
    targets = torch.tensor([[float(name in label.split(",")) for name in used] for label in labels])

    def plain(smoothing: float) -> torch.Tensor:
        """A label is present or absent, each with at least half of `smoothing`."""
        smoothed = torch.stack((targets, 1 - targets), -1) * (1 - smoothing) + smoothing / 2
        log_probabilities = torch.stack((functional.logsigmoid(scores), functional.logsigmoid(-scores)), -1)
        return -(smoothed * log_probabilities).sum((1, 2)).mean()

    check(task, model, plain)


def test_tags(tmp_path):
    task, model = prepared("token tagging", tmp_path, "model.max_length=12")
    data = task.data.split("train")
    names = sorted({tag for tags in data.tags for tag in tags} - {"O"})
    scores, tags = [], []
    for batch in epoch(task):
        scores.append(model(batch.tokens, batch.lengths, batch.indices))
        for row, count in zip(batch.sample_ids.tolist(), batch.counts.tolist(), strict=True):
            tags += data.tags[row][:count]
    targets = torch.tensor([["O", *names].index(tag) for tag in tags])
    assert len(data) < len(tags) < sum(map(len, data.tags))  # some words do not fit
    check(task, model, lambda e: functional.cross_entropy(torch.cat(scores), targets, label_smoothing=e))


def test_answers(tmp_path):
    task, model = prepared("question answering", tmp_path, smoothing=0)
    each = []
    for batch in epoch(task):
        scores = model(batch.tokens, batch.lengths, batch.segments, batch.allowed)
        each += [functional.cross_entropy(row, span) for row, span in zip(scores, batch.spans, strict=True)]
    assert len(each) > len(task.data.split("train"))  # windows
    check(task, model, lambda _: torch.stack(each).mean())


@pytest.mark.parametrize("nsp", [False, True])
def test_hidden_tokens(nsp, tmp_path):
    lines = [[f"Sentence {n} of text {d}.\n" for n in range(5)] for d in range(16)]
    (tmp_path / "train.txt").write_text("\n".join("".join(part) for part in lines), encoding="utf-8")
    more = [*NSP, f"data.path={tmp_path / 'train.txt'}"] if nsp else []
    task, model = prepared("bert", tmp_path, *more)
    scores, targets, follows = [], [], []
    for batch in epoch(task):
        chosen, hidden = model(batch.tokens, batch.lengths, batch.segments, batch.indices)
        scores.append(model.logits(chosen))
        targets.append(batch.targets)
        if nsp:  # once for each hidden token, so that both losses are means over the same count
            follows.append(functional.cross_entropy(model.follows(hidden)[batch.rows], batch.follows[batch.rows]))
            follows[-1] = follows[-1] * len(batch.rows)
    next_sentence = sum(follows) / len(torch.cat(targets))  # is not smoothed

    def plain(smoothing: float) -> torch.Tensor:
        hidden = functional.cross_entropy(torch.cat(scores), torch.cat(targets), label_smoothing=smoothing)
        return hidden + next_sentence

    check(task, model, plain)


def test_next_tokens(tmp_path):
    task, model = prepared("gpt", tmp_path)
    scores, targets = [], []
    for batch in epoch(task):
        logits = model.logits(model(batch.inputs, batch.documents))
        for row, length in enumerate(batch.target_lengths.tolist()):
            assert batch.targets[row, : length - 1].equal(batch.inputs[row, 1:length])
            scores.append(logits[row, :length])
            targets.append(batch.targets[row, :length])
    assert len(targets) == task.view("train").packed.blocks
    check(task, model, lambda e: functional.cross_entropy(torch.cat(scores), torch.cat(targets), label_smoothing=e))


def inputs_are_the_tokens_before(task, batch) -> None:
    """The decoder reads <s> and then the target, of which it predicts the next token; the last one is </s>."""
    for inputs, targets in zip(batch.target_inputs, batch.targets, strict=True):
        length = int((targets == task.data.tokenizer.eos_id).nonzero()[0]) + 1
        assert length > 2
        assert inputs[0] == task.data.tokenizer.bos_id and inputs[1:length].equal(targets[: length - 1])


@pytest.mark.parametrize("name", ["captions", "speech translation"])
def test_decoders_of_captions_and_speech_read_the_tokens_before(name, tmp_path):
    task, _ = prepared(name, tmp_path)
    inputs_are_the_tokens_before(task, epoch(task)[0])


def test_translations(tmp_path):
    task, model = prepared("translation", tmp_path)
    scores, targets = [], []
    for batch in epoch(task):
        hidden = model(batch.source, batch.source_lengths, batch.target_inputs)
        weight, bias = model.output_layer()
        logits = functional.linear(hidden, weight, bias)
        inputs_are_the_tokens_before(task, batch)
        for row, length in enumerate(batch.target_lengths.tolist()):
            scores.append(logits[row, :length])
            targets.append(batch.targets[row, :length])
    assert len(targets) == len(task.data.tokens("train"))
    check(task, model, lambda e: functional.cross_entropy(torch.cat(scores), torch.cat(targets), label_smoothing=e))
