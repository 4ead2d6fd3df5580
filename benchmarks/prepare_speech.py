"""Writes strings of the built-in spoken numbers, once, for every program to read.

`python prepare_speech.py OUTPUT NAME`, in tformer's own environment with its extra `demo`.

OUTPUT gets `tokenizer.model`, of characters; `facts.json`; `data.npz` with the samples and the ids of the training
strings; and the same strings as `tformer` reads them: `strings/train.parquet` and `validation.parquet`.
"""

from __future__ import annotations

import io
import json
import sys
import wave
from pathlib import Path

import numpy as np
import pyarrow
import pyarrow.parquet
import sentencepiece
from prepare import flat, train_tokenizer

from tformer_cli.builtin.spoken_numbers import spoken_numbers

SAMPLE_RATE = 16_000
SPOKEN = 600  # numbers that strings are made of
MOST = 12  # numbers in a string; each count from 1 on is as likely
TRAIN, VALIDATION = 400, 8  # more than a short run sees; tformer asks for validation, which is not measured
SEED = 1

Strings = list[tuple[np.ndarray, str]]


def strings(count: int, spoken: int) -> Strings:
    """Samples (N,), int16, and transcripts: numbers drawn at random, one after the other."""
    numbers = [(wave, text) for _, wave, text in spoken_numbers("train", spoken, SEED, SAMPLE_RATE)]
    random, made = np.random.default_rng(SEED), []
    for _ in range(count):
        rows = random.integers(len(numbers), size=random.integers(1, MOST + 1))
        samples = np.rint(np.concatenate([numbers[row][0] for row in rows]) * (2**15 - 1)).astype(np.int16)
        made.append((samples, " ".join(numbers[row][1] for row in rows)))
    return made


def wav(samples: np.ndarray) -> bytes:
    """A WAV file of one channel."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, len(samples), "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())
    return content.getvalue()


def write_table(rows: Strings, path: Path) -> None:
    """Recordings and transcripts, as `datasets` names their columns."""
    path.parent.mkdir(exist_ok=True)
    recordings = [{"bytes": wav(samples), "path": None} for samples, _ in rows]
    of_bytes = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    table = {"audio": pyarrow.array(recordings, of_bytes), "transcription": [text for _, text in rows]}
    pyarrow.parquet.write_table(pyarrow.table(table), path, compression="none")


def main(output: Path, name: str, *, train: int = TRAIN, validation: int = VALIDATION, spoken: int = SPOKEN) -> None:
    """Write everything into `output`."""
    output.mkdir(parents=True, exist_ok=True)
    made = strings(train + validation, spoken)
    parts = {"train": made[:train], "validation": made[train:]}
    for split, rows in parts.items():
        write_table(rows, output / "strings" / f"{split}.parquet")
    waves, texts = zip(*parts["train"], strict=True)
    model = output / "tokenizer.model"
    train_tokenizer([*texts], model, 64, model_type="char", hard_vocab_limit=False)
    tokenizer = sentencepiece.SentencePieceProcessor(model_file=str(model))
    ids, offsets = flat(tokenizer.encode([*texts]))
    seconds = np.array([len(samples) for samples in waves]) / SAMPLE_RATE
    facts = {
        "name": name,
        "vocab_size": tokenizer.get_piece_size(),
        "strings": {
            "utterances": train,
            "most_numbers": MOST,
            "seconds": {
                "mean": round(float(seconds.mean()), 2),
                "least": round(float(seconds.min()), 2),
                "most": round(float(seconds.max()), 2),
            },
        },
    }
    np.savez(
        output / "data.npz",
        strings_sound=np.concatenate(waves),
        strings_sound_offsets=np.cumsum([0, *map(len, waves)], dtype=np.int64),
        strings_ids=ids,
        strings_offsets=offsets,
        sample_rate=SAMPLE_RATE,
    )
    (output / "facts.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    _, output_, name_ = sys.argv
    main(Path(output_), name_)
