"""Pre-training, fine-tuning and use of the text families, as a user types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.properties.families import ENTITIES, QUESTIONS, SENTIMENT
from tformer_cli.cli.main import main

SMALL = [
    "trainer.threads=1", "trainer.log_every=2", "trainer.evaluate_every=0", "trainer.checkpoint_every=0",
    "trainer.steps=4", "optim.warmup_steps=1",
]  # fmt: skip
ENCODER = [
    "model.max_length=24", "model.dim=16", "model.heads=2", "model.ffn_dim=32", "model.depth=1",
    "model.positions=learned", "tokenizer.kind=bpe",
]  # fmt: skip
CORPUS = ["data.size=8", "data.batch_tokens=96", "tokenizer.vocab_size=600"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def bert(folder) -> Path:
    cache = f"data.cache={folder / 'cache'}"
    assert main(["pretrain", "quickstart/bert", *SMALL, *ENCODER, *CORPUS, cache, "--run", str(folder / "bert")]) == 0
    return folder / "bert"


@pytest.fixture(scope="module")
def gpt(folder) -> Path:
    cache = f"data.cache={folder / 'cache'}"
    assert main(["pretrain", "quickstart/gpt", *SMALL, *ENCODER, *CORPUS, cache, "--run", str(folder / "gpt")]) == 0
    return folder / "gpt"


def finetune(folder: Path, name: str, recipe: str, data: str, start: str, *more: str) -> Path:
    settings = [*SMALL, f"data.path={data}", "data.batch_tokens=96", f"data.cache={folder / 'cache'}", *more]
    assert main(["finetune", recipe, "--from", start, *settings, "--run", str(folder / name)]) == 0
    return folder / name


def test_fillings_of_a_hidden_word(bert, capsys):
    assert main(["predict", str(bert), "The <mask> statement and the <mask>", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert len(record["fillings"]) == 2 and len(record["fillings"][0]) == 5
    assert record["fillings"][0][0]["probability"] >= record["fillings"][0][1]["probability"] > 0
    assert "<mask>" not in record["text"]
    assert main(["evaluate", str(bert), "--split", "validation", "--json"]) == 0
    assert {"loss", "perplexity", "mlm_accuracy"} <= json.loads(capsys.readouterr().out)["scores"].keys()


def test_next_sentences_are_learnt_from_ordered_documents(folder, capsys):
    lines = [f"Sentence {n} of text {d}.\n" for d in range(20) for n in range(6)]
    documents = "\n".join("".join(lines[start : start + 6]) for start in range(0, 120, 6))
    (folder / "documents.txt").write_text(documents, encoding="utf-8")
    settings = [*SMALL, *ENCODER, f"data.path={folder / 'documents.txt'}", "data.documents=blank", "bert.nsp=true"]
    settings += ["tokenizer.vocab_size=40", "data.batch_tokens=96", "data.validation_share=0.2"]
    assert main(["pretrain", "bert/imdb", *settings, "--run", str(folder / "nsp")]) == 0
    assert main(["evaluate", str(folder / "nsp"), "--split", "validation", "--json"]) == 0
    scores = json.loads(capsys.readouterr().out)["scores"]
    assert {"nsp_accuracy", "nsp_loss", "mlm_accuracy"} <= scores.keys()
    run = finetune(folder, "from nsp", "text/classification", SENTIMENT, str(folder / "nsp"))
    assert "new: the output layer" in capsys.readouterr().err and run.is_dir()  # the pooler came along


def test_a_classifier_from_an_encoder(folder, bert, capsys):
    run = finetune(folder, "labels", "text/classification", SENTIMENT, str(bert), "head.class_weights=true")
    assert "new: the output layer, the pooler" in capsys.readouterr().err
    assert main(["predict", str(run), "a good film"]) == 0
    label, probability = capsys.readouterr().out.rstrip("\n").split("\t")
    assert label in ("positive", "negative") and 0.5 <= float(probability) <= 1
    assert main(["predict", str(run), "a good film", "a bad one", "--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [record["input"] for record in records] == ["a good film", "a bad one"]
    assert sum(records[0]["probabilities"].values()) == pytest.approx(1, abs=1e-4)
    assert main(["evaluate", str(run), "--split", "validation"]) == 0
    assert "matthews" in capsys.readouterr().out
    (folder / "odd.tsv").write_text("text\tlabel\nwhat\tunheard\n", encoding="utf-8")
    assert main(["evaluate", str(run), f"data.test={folder / 'odd.tsv'}"]) == 1
    assert "odd.tsv:2: label 'unheard' is not in the training split" in capsys.readouterr().err


def test_frozen_features_and_layer_decay(folder, bert):
    from tformer_cli.runs.checkpoint import read_tensors
    from tformer_cli.runs.folder import locate

    run = finetune(folder, "frozen", "text/classification", SENTIMENT, str(bert), "head.frozen=true")
    finetune(folder, "decay", "text/classification", SENTIMENT, str(bert), "optim.layer_decay=0.5")
    before, after = (read_tensors(locate(path)[1] / "model.safetensors") for path in (bert, run))
    body = [name for name in after if name.startswith("encoder.")]
    assert body and all(before[name].equal(after[name]) for name in body)


def test_tags_and_answers_from_an_encoder(folder, bert, capsys):
    run = finetune(folder, "tags", "text/tagging", ENTITIES, str(bert))
    assert main(["predict", str(run), "Ann saw Bob", "--json"]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record["words"] == ["Ann", "saw", "Bob"] and len(record["tags"]) == 3
    run = finetune(folder, "answers", "text/question_answering", QUESTIONS, str(bert), "data.stride=4")
    assert main(["predict", str(run), "Where?\tAnn lives in Oslo.", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["answer"] in "Ann lives in Oslo."
    assert main(["predict", str(run), "Where?"]) == 1
    assert "no tab between a question and the text" in capsys.readouterr().err


def test_another_librarys_encoder_and_back(folder, bert, tmp_path, capsys):
    assert main(["export", str(bert), "--output", str(tmp_path / "pre")]) == 2
    assert "model.norm: pre cannot be exported" in capsys.readouterr().err
    settings = [*SMALL, *ENCODER, *CORPUS, f"data.cache={folder / 'cache'}", "model.norm=post"]
    assert main(["pretrain", "quickstart/bert", *settings, "--run", str(folder / "post")]) == 0
    assert main(["export", str(folder / "post"), "--output", str(tmp_path / "hf")]) == 0
    run = finetune(folder, "from hf", "text/classification", SENTIMENT, f"hf:{tmp_path / 'hf'}")
    assert main(["export", str(run), "--output", str(tmp_path / "labels")]) == 0
    config = json.loads((tmp_path / "labels" / "config.json").read_text())
    assert config["id2label"] == {"0": "negative", "1": "positive"}
    assert main(["finetune", "gpt/files", "--from", f"hf:{tmp_path / 'hf'}", f"data.path={SENTIMENT}"]) == 1
    assert "is a bert model, but this recipe trains a gpt model" in capsys.readouterr().err


def test_a_language_model_writes_on(gpt, capsys):
    options = ["--max-length", "6", "--temperature", "0.8", "--top-p", "0.9"]
    assert main(["predict", str(gpt), "The list", *options]) == 0
    streamed = capsys.readouterr().out
    assert streamed.startswith("The list") and streamed.endswith("\n")
    assert main(["predict", str(gpt), "The list", *options]) == 0
    assert capsys.readouterr().out == streamed
    assert main(["predict", str(gpt), "The list", "A class", *options, "--n-best", "2", "--json"]) == 0
    records = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [len(record["hypotheses"]) for record in records] == [2, 2]
    assert main(["predict", str(gpt), "word " * 60]) == 1
    assert "the model's context is 24" in capsys.readouterr().err
    assert main(["evaluate", str(gpt), "--split", "test", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["scores"]["bits_per_byte"] > 0
