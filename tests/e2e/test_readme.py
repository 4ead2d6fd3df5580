"""The README's commands, run as they are written there, in a shell; only the trainings are made short."""

from __future__ import annotations

import io
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest
import soundfile
from PIL import Image

from tests.e2e.preloaded import program
from tformer_cli.builtin import parallel

README = Path(__file__).resolve().parents[2] / "README.md"
SHORT = (
    "data.cache=cache model.dim=16 model.heads=2 model.ffn_dim=32 "
    "trainer.steps=2 trainer.minutes=0 trainer.threads=1 "
    "trainer.evaluate_limit=4 trainer.evaluate_every=0 trainer.checkpoint_every=0"
)
TEXT = "tokenizer.vocab_size=400 data.batch_tokens=400"
SMALL = {
    "translation": f"{TEXT} model.encoder_depth=1 model.decoder_depth=1",
    "vit": "model.depth=1 data.batch_images=4",
    "captioning": (
        "model.depth=1 decoder.dim=16 decoder.heads=2 decoder.ffn_dim=32 decoder.depth=1 "
        "data.batch_images=4 tokenizer.kind=char"
    ),
    "speech_translation": (
        "model.depth=1 model.subsampling_dim=4 decoder.dim=16 decoder.heads=2 decoder.ffn_dim=32 decoder.depth=1 "
        "data.batch_seconds=8 features.margin=20 tokenizer.kind=char"
    ),
    "conformer": "model.depth=1 model.subsampling_dim=4 data.batch_seconds=8 features.margin=20 tokenizer.kind=char",
}
"""By the first part of the recipe's name."""
LIMIT_SECONDS = 300


def commands() -> list[str]:
    """Lines of code that call tformer, without their comments; `a|b|c ...` only lists what there is."""
    inside, lines = False, []
    for line in README.read_text(encoding="utf-8").splitlines():
        inside ^= line.startswith("```")
        if inside and line.startswith("tformer ") and not line.endswith("..."):
            lines.append(line.partition("  #")[0].strip())
    return lines


def make_pictures(folder: Path) -> None:
    """Noise in two shades, in class folders and with captions, and two pictures to be named."""
    random = np.random.default_rng(1)

    def picture(number: int) -> bytes:
        stream = io.BytesIO()
        Image.fromarray(random.integers(100 * (number % 2), 150, (40, 32, 3), np.uint8)).save(stream, "JPEG")
        return stream.getvalue()

    (folder / "folder").mkdir()
    for place in (folder / "photo.jpg", folder / "folder" / "other.jpg"):
        place.write_bytes(picture(0))
    for number in range(48):
        name = ("PICTURES", "MORE_PICTURES")[number // 24]
        place = folder / name / "train" / ("dark", "light")[number % 2] / f"{number}.jpg"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(picture(number))
    rows = ["file_name,text"]
    (folder / "CAPTIONED").mkdir()
    for number in range(24):
        (folder / "CAPTIONED" / f"{number}.jpg").write_bytes(picture(number))
        rows.append(f"{number}.jpg,a {('dark', 'light')[number % 2]} picture")
    (folder / "CAPTIONED" / "metadata.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")


def make_recordings(folder: Path) -> None:
    """Noise with digits or their German translations as text, in three folders, and some to be named."""
    random = np.random.default_rng(1)

    def recording(place: Path) -> None:
        place.parent.mkdir(parents=True, exist_ok=True)
        soundfile.write(place, 0.1 * random.standard_normal(6000), 8000)

    english, german = ("one", "two"), ("eins", "zwei")
    for name, column, words in (
        ("RECORDINGS", "transcription", english),
        ("MORE_RECORDINGS", "transcription", english),
        ("SPOKEN", "translation", german),
    ):
        rows = [f"file_name,{column}"]
        for number in range(24):
            recording(folder / name / f"{number}.wav")
            rows.append(f"{number}.wav,{words[number % 2]}")
        (folder / name / "metadata.csv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    for place in ("a.wav", "b.flac", "folder/c.ogg"):
        recording(folder / place)


def run_command(command: str, folder: Path, path: str) -> None:
    """Run a command of the README in a shell; a training is made short."""
    trains = command.startswith(("tformer pretrain", "tformer finetune"))
    family = command.split()[2].partition("/")[0] if trains else ""
    settings = f"{SHORT} {SMALL.get(family, f'{TEXT} model.depth=1')}".split()
    settings = " ".join(item for item in settings if "finetune" not in command or "model." not in item)
    done = subprocess.run(
        f"{command} {settings}" if trains else command,
        shell=True,
        cwd=folder,
        env={**os.environ, "PATH": path, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{command}: {done.stderr[-500:]}"


@pytest.mark.skipif(os.name != "posix", reason="the commands are for a POSIX shell")
def test_every_command_of_the_readme_runs(tmp_path, tmp_path_factory):
    for folder in ("FOLDER", "OTHER"):
        (tmp_path / folder).mkdir()
        for name, split in (("train", "train"), ("val", "validation"), ("test_2016_flickr", "test")):
            pairs = parallel("en-ja", split, size=150)
            for side, language in enumerate(("en", "de")):
                text = "".join(pair[side] + "\n" for pair in pairs)
                (tmp_path / folder / f"{name}.{language}").write_text(text, encoding="utf-8")
    texts = [source for source, _ in parallel("en-ja", "train", size=1000)]
    for folder, name, line in (
        ("REVIEWS", "train.jsonl", '{{"text": "{}", "label": {}}}\n'),
        ("BOOKS", "book.txt", "{}\n"),
    ):
        (tmp_path / folder).mkdir()
        lines = "".join(line.format(text, number % 2) for number, text in enumerate(texts))
        (tmp_path / folder / name).write_text(lines, encoding="utf-8")
    make_pictures(tmp_path)
    make_recordings(tmp_path)
    (tmp_path / "in.en").write_text("The cat sleeps.\n\nWe read three books.\n", encoding="utf-8")
    assert len(commands()) >= 20
    with program(tmp_path_factory.mktemp("bin")) as folder:
        path = f"{folder}{os.pathsep}{os.environ['PATH']}"
        for command in commands():
            run_command(command, tmp_path, path)
    assert (tmp_path / "out.de").read_text(encoding="utf-8").count("\n") == 3
    for exported in ("hf", "gpt"):
        assert (tmp_path / exported / "model.safetensors").is_file()
