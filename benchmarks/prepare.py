"""Prepare sentence pairs: train the vocabulary and write the sentences as ids, once for all programs.

`python prepare.py CORPUS OUTPUT SOURCE TARGET VOCAB_SIZE [WEIGHTS]`, in an environment with sentencepiece and
numpy. CORPUS is a folder of parallel files: `train.SOURCE`, `train.TARGET`, `test*.SOURCE`, `test*.TARGET`.
WEIGHTS is a folder that `tformer export` wrote; its vocabulary is then used instead of a new one.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import sentencepiece


def read(path: Path) -> list[str]:
    """Return the sentences of a file, split at newlines only."""
    return path.read_bytes().decode("utf-8").removesuffix("\n").split("\n")


def flat(rows: list[list[int]]) -> tuple[np.ndarray, np.ndarray]:
    """Return all ids in one array, and the beginning of each row, with one more entry for the end."""
    offsets = np.cumsum([0, *map(len, rows)], dtype=np.int64)
    return np.concatenate([np.array(row, dtype=np.int32) for row in rows]), offsets


def train_tokenizer(lines: list[str], path: Path, vocab_size: int, **settings: Any) -> None:
    """Train a SentencePiece model on all lines, with the ids 0 <pad>, 1 <unk>, 2 <s> and 3 </s>."""
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_prefix=str(path.with_suffix("")),
        vocab_size=vocab_size,
        character_coverage=1.0,
        pad_id=0,
        unk_id=1,
        bos_id=2,
        eos_id=3,
        minloglevel=1,
        **settings,
    )


def main(corpus: Path, output: Path, source: str, target: str, vocab_size: int, weights: Path | None) -> None:
    """Write `tokenizer.model`, `data.npz` and `facts.json` into `output`."""
    output.mkdir(parents=True, exist_ok=True)
    stems = {"train": "train", "test": sorted(p.stem for p in corpus.glob(f"test*.{source}"))[0]}
    texts = {
        (split, side): read(corpus / f"{stem}.{language}")
        for split, stem in stems.items()
        for side, language in (("source", source), ("target", target))
    }
    path = output / "tokenizer.model"
    if weights is None:
        train_tokenizer(texts["train", "source"] + texts["train", "target"], path, vocab_size)
    else:
        shutil.copyfile(weights / "tokenizer" / "joint.model", path)
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(path))
    arrays, facts = {}, {"vocab_size": tokenizer.get_piece_size(), "languages": [source, target]}
    for (split, side), lines in texts.items():
        rows = tokenizer.encode(lines)
        arrays[f"{split}_{side}_ids"], arrays[f"{split}_{side}_offsets"] = flat(rows)
        facts[f"{split}_pairs"] = len(rows)
        facts[f"{split}_{side}_mean_tokens"] = round(sum(map(len, rows)) / len(rows), 2)
    np.savez(output / "data.npz", **arrays)
    (output / "facts.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    _, corpus_, output_, source_, target_, vocab_size_, *weights_ = sys.argv
    main(
        Path(corpus_),
        Path(output_),
        source_,
        target_,
        int(vocab_size_),
        Path(weights_[0]) if weights_ else None,
    )
