"""Prepare recordings: write strings of the built-in spoken numbers, once for all programs.

`python prepare_speech.py OUTPUT NAME`, in tformer's own environment with its extra `demo`.

It writes to OUTPUT `tokenizer.model`, a vocabulary of characters, `facts.json`, `data.npz` with the samples and ids of
the training strings, and the same strings in the format of tformer, `strings/train.parquet` and `validation.parquet`.
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
SPOKEN = 600  # recordings of numbers, which are joined to strings
MAX_NUMBERS = 12  # maximum of numbers in a string; all counts from 1 on have the same probability
TRAIN, VALIDATION = 400, 8  # more than a short run needs; tformer needs a validation split, which is not measured
SEED = 1

Strings = list[tuple[np.ndarray, str]]


def strings(count: int, spoken: int) -> Strings:
    """Return samples (N,), int16, and transcripts of strings of random numbers."""
    numbers = [(wave, text) for _, wave, text in spoken_numbers("train", spoken, SEED, SAMPLE_RATE)]
    random, recordings = np.random.default_rng(SEED), []
    for _ in range(count):
        rows = random.integers(len(numbers), size=random.integers(1, MAX_NUMBERS + 1))
        samples = np.rint(np.concatenate([numbers[row][0] for row in rows]) * (2**15 - 1)).astype(np.int16)
        recordings.append((samples, " ".join(numbers[row][1] for row in rows)))
    return recordings


def wav(samples: np.ndarray) -> bytes:
    """Return the bytes of a WAV file with one channel."""
    content = io.BytesIO()
    with wave.open(content, "wb") as file:
        file.setparams((1, 2, SAMPLE_RATE, len(samples), "NONE", ""))
        file.writeframes(samples.astype("<i2").tobytes())
    return content.getvalue()


def write_table(rows: Strings, path: Path) -> None:
    """Write recordings and transcripts to a table, with the column names of `datasets`."""
    path.parent.mkdir(exist_ok=True)
    recordings = [{"bytes": wav(samples), "path": None} for samples, _ in rows]
    of_bytes = pyarrow.struct([("bytes", pyarrow.binary()), ("path", pyarrow.string())])
    table = {"audio": pyarrow.array(recordings, of_bytes), "transcription": [text for _, text in rows]}
    pyarrow.parquet.write_table(pyarrow.table(table), path, compression="none")


def main(output: Path, name: str, *, train: int = TRAIN, validation: int = VALIDATION, spoken: int = SPOKEN) -> None:
    """Write all files into `output`."""
    output.mkdir(parents=True, exist_ok=True)
    recordings = strings(train + validation, spoken)
    parts = {"train": recordings[:train], "validation": recordings[train:]}
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
            "most_numbers": MAX_NUMBERS,
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
