"""Prepare running text: train a vocabulary and write documents and sentences, once for all programs.

`python prepare_text.py CORPUS OUTPUT NAME VOCAB_SIZE`, in an environment with sentencepiece and numpy. NAME is the
name of the corpus: `imdb`, a folder with `train.jsonl.gz`, or `tinyshakespeare`, a folder with `input.txt`.

It writes to OUTPUT `tokenizer.model`, `facts.json`, `data.npz` with the ids of the training texts, and the same texts
in the format of tformer: `train.jsonl` and `validation.jsonl` in `documents/` and `sentences/`.
"""

from __future__ import annotations

import gzip
import itertools
import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece
from prepare import flat, train_tokenizer

REVIEWS = 10_000  # more than any run reads
SENTENCE_END = re.compile(r"(?<=[.!?])\s+")
VALIDATION_SHARE = 0.02  # tformer needs a validation split, which is not used during the measurement
MASK = "<mask>"
EXACT = {  # white space and Unicode forms are kept
    "normalization_rule_name": "identity",
    "add_dummy_prefix": False,
    "remove_extra_whitespaces": False,
    "byte_fallback": True,
}

Row = dict[str, Any]


def reviews(corpus: Path) -> dict[str, list[Row]]:
    """Return film reviews as documents, and passages of one and two sentences in turn with the labels of reviews."""
    with gzip.open(corpus / "train.jsonl.gz", "rt", encoding="utf-8") as lines:
        documents = [json.loads(line) for line in itertools.islice(lines, REVIEWS)]
    sentences = []
    for row in documents:
        row["text"] = " ".join(row["text"].replace("<br />", " ").split())
        parts = iter(SENTENCE_END.split(row["text"]))
        for size in itertools.cycle((1, 2)):
            passage = " ".join(itertools.islice(parts, size))
            if not passage:
                break
            sentences.append({"text": passage, "label": row["label"]})
    return {"documents": documents, "sentences": sentences}


def plays(corpus: Path) -> dict[str, list[Row]]:
    """Return one long document, and its end for validation."""
    text = (corpus / "input.txt").read_text(encoding="utf-8")
    end = round(len(text) * (1 - VALIDATION_SHARE))
    return {"documents": [{"text": text[:end]}, {"text": text[end:]}]}


def write_rows(rows: list[Row], path: Path) -> None:
    """Write a JSON object per line."""
    path.parent.mkdir(exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def main(corpus: Path, output: Path, name: str, vocab_size: int) -> None:
    """Write all files into `output`."""
    output.mkdir(parents=True, exist_ok=True)
    parts = {"imdb": reviews, "tinyshakespeare": plays}[name](corpus)
    settings = {"user_defined_symbols": [MASK]} if name == "imdb" else EXACT
    lines = [line for row in parts["documents"] for line in row["text"].split("\n") if line]
    train_tokenizer(lines, output / "tokenizer.model", vocab_size, model_type="bpe", **settings)
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(output / "tokenizer.model"))
    arrays: dict[str, np.ndarray] = {}
    facts: dict[str, Any] = {"name": name, "vocab_size": vocab_size}
    for kind, rows in parts.items():
        held_out = max(1, round(len(rows) * VALIDATION_SHARE))
        train, validation = rows[:-held_out], rows[-held_out:]
        ids = tokenizer.encode([row["text"] for row in train])
        arrays[f"{kind}_ids"], arrays[f"{kind}_offsets"] = flat(ids)
        if "label" in train[0]:
            arrays[f"{kind}_labels"] = np.array([row["label"] for row in train])
        facts[kind] = {"texts": len(ids), "mean_tokens": round(sum(map(len, ids)) / len(ids), 2)}
        write_rows(train, output / kind / "train.jsonl")
        write_rows(validation, output / kind / "validation.jsonl")
    np.savez(output / "data.npz", **arrays)
    (output / "facts.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    _, corpus_, output_, name_, vocab_size_ = sys.argv
    main(Path(corpus_), Path(output_), name_, int(vocab_size_))
