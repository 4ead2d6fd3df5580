"""What transcripts and translations must fit, and whose vocabulary they are written with."""

from __future__ import annotations

from pathlib import Path

import pytest

from tformer_cli.config.compose import compose, to_yaml
from tformer_cli.data.speech.fitting import Transcripts, Translations


@pytest.fixture
def recognition():
    return compose("conformer/folder", ["data.path=x", "model.max_length=40"])


@pytest.fixture
def translation():
    return compose("speech_translation/folder", ["data.path=x", "data.target_language=de", "decoder.max_length=16"])


def checkpoint(folder: Path, config) -> Path:
    """Write the configuration of a run to a folder, as a checkpoint contains it."""
    folder.mkdir()
    (folder / "config.yaml").write_text(to_yaml(config), encoding="utf-8")
    return folder


def test_translations_are_written_with_the_vocabulary_of_translations_alone(tmp_path, recognition, translation):
    recogniser, translator = checkpoint(tmp_path / "asr", recognition), checkpoint(tmp_path / "st", translation)
    assert Translations(translation).uses_vocabulary_of(translator)
    assert not Translations(translation).uses_vocabulary_of(recogniser)
    assert all(Transcripts(recognition).uses_vocabulary_of(folder) for folder in (recogniser, translator))


def test_limit_and_language(recognition, translation):
    assert (Translations(translation).limit, Translations(translation).language) == (15, "de")
    assert (Transcripts(recognition).limit, Transcripts(recognition).language) == (39, "")
