"""Writing on: many prompts are as each alone, in order, and fit into memory."""

from __future__ import annotations

import math
from collections import Counter

import pytest
import torch

from tests.properties.families import family_named
from tformer_cli.cli.main import main
from tformer_cli.errors import DataError
from tformer_cli.evaluators.base import Scoring
from tformer_cli.predictors import language_model
from tformer_cli.tasks.task import Task
from tformer_cli.train.launch import launch

GPT = family_named("gpt")
PROMPTS = ["The list", "", "def main(", "A class", "of", "The list", "is a", "or the method", "", "A class"] * 3
BEAM = {"beam": 3, "n_best": 2, "sample": False}
GREEDY = {"beam": 1, "n_best": 1, "sample": False}
DRAWN = {"beam": 1, "n_best": 2, "sample": True, "top_p": 1.0}


@pytest.fixture(scope="module")
def gpt(tmp_path_factory) -> tuple[Task, torch.nn.Module]:
    task = GPT.task(tmp_path_factory.mktemp("gpt"))
    torch.manual_seed(1)
    model = task.model().eval().requires_grad_(False)
    for weight in model.parameters():
        weight += 0.2 * torch.randn(weight.shape)  # sharp enough that rounding decides nothing
    return task, model


def predict(gpt, **decode) -> list:
    task, model = gpt
    vars(task.config.decode).update({"batch": 0, "workers": 1, "max_length": 8, **decode})
    return list(task.predict(model, PROMPTS))


@pytest.mark.parametrize("decode", [BEAM, GREEDY, DRAWN], ids=["beam", "greedy", "drawn"])
def test_prompts_together_are_written_on_as_each_alone(gpt, decode, monkeypatch):
    sizes, search = [], language_model.search
    monkeypatch.setattr(
        language_model, "search", lambda *args, **more: sizes.append(len(more["sample_ids"])) or search(*args, **more)
    )
    alone = predict(gpt, batch=1, **decode)
    assert sizes == [1] * len(PROMPTS)
    sizes.clear()
    together = predict(gpt, **decode)
    lengths = Counter(len(prompt.value) for prompt in gpt[0].predictor.read_inputs(PROMPTS))
    assert sorted(sizes) == sorted(lengths.values()) and len(lengths) > 3
    for prediction, other in zip(together, alone, strict=True):
        assert prediction.text == other.text
        for a, b in zip(prediction.details["hypotheses"], other.details["hypotheses"], strict=True):
            assert a["text"] == b["text"] and a["score"] == pytest.approx(b["score"], abs=1e-5)
    assert len({prediction.text for prediction in together}) > 5
    assert together == predict(gpt, workers=3, **decode)


def test_equal_prompts_are_drawn_for_apart(gpt):
    texts = [prediction.text for prediction in predict(gpt, **DRAWN)]
    assert texts[0] != texts[5] and texts[0] != texts[10]


def test_the_keys_and_values_of_prompts_together_are_bounded(gpt, monkeypatch):
    task, decode = gpt[0], gpt[0].config.decode
    vars(decode).update({"batch": 0, "max_length": 8, **GREEDY})
    (prompt,) = task.predictor.read_inputs(["The list"])

    def prompts(count: int) -> list:
        return list(enumerate([prompt.value] * count))

    a_prompt = 2 * 1 * (len(prompt.value) + 9) * 16 * 4  # keys and values, blocks, tokens, width, bytes
    monkeypatch.setattr(language_model, "BATCH_CACHE_BYTES", 3 * a_prompt)
    assert [part for part, _ in task.predictor.divide(prompts(7))] == [
        [0, 1, 2],
        [3, 4, 5],
        [6],
    ]
    monkeypatch.setattr(language_model, "BATCH_CACHE_BYTES", 1)
    assert [part for part, _ in task.predictor.divide(prompts(2))] == [[0], [1]]
    decode.batch = 4
    assert [len(part) for part, _ in task.predictor.divide(prompts(7))] == [4, 3]


def test_a_prompt_that_is_too_long_is_named(gpt):
    task, model = gpt
    with pytest.raises(DataError, match=r"input line 4: \d+ tokens, the model's context is 16"):
        list(task.predict(model, ["The list"] * 3 + ["word " * 30]))


def test_a_streamed_prompt_is_cut_or_skipped_as_in_a_file(tmp_path, capsys):
    """A single text given as an argument is streamed; it is treated as the same text from a file."""
    settings = ("trainer.steps=2", "trainer.minutes=0", "decode.beam=1")
    launch(GPT.config(tmp_path / "cache", *settings), tmp_path / "run", quiet=True)
    long, file = "word " * 30, tmp_path / "prompts.txt"
    file.write_text(long + "\n")
    for on_long, heading in (("cut", "note"), ("skip", "skipped")):
        printed = []
        for source in (long, str(file)):
            capsys.readouterr()
            assert main(["predict", str(tmp_path / "run"), source, "--on-long", on_long]) == 0
            printed.append(capsys.readouterr())
        (line,) = printed[0].err.splitlines()
        assert line.startswith(f"{heading}: the text: ") and "the model's context is 16" in line
        assert printed[1].err == printed[0].err.replace("the text", f"{file}:1")
        assert printed[0].out == (long if on_long == "cut" else "") + printed[1].out
    assert main(["predict", str(tmp_path / "run"), long]) == 1
    assert "the model's context is 16: give its end only" in capsys.readouterr().err


def test_bits_per_byte_are_the_bits_that_the_text_takes_by_its_bytes(gpt):
    """Bits per byte are the sum of -log2 of the tokens' probabilities, divided by the bytes of the UTF-8 text."""
    task, model = gpt
    scores = task.evaluate(model, "validation", Scoring(decoded=False)).scores
    bits = tokens = 0.0
    view = task.view("validation")
    for batch in (view.batch(0, index) for index in range(view.num_batches)):
        logits = model.logits(model(batch.inputs, batch.documents)).double()
        for row, length in enumerate(batch.target_lengths.tolist()):
            probability = logits[row, :length].softmax(-1)[torch.arange(length), batch.targets[row, :length]]
            bits -= float(probability.log2().sum())
            tokens += length
    size = sum(len(document.encode()) for document in task.data.split("validation").documents)
    assert scores["bits_per_byte"] == pytest.approx(bits / size, rel=1e-4)
    assert scores["perplexity"] == pytest.approx(2 ** (bits / tokens), rel=1e-3)
    assert scores["loss"] == pytest.approx(bits / tokens * math.log(2), rel=1e-4)
