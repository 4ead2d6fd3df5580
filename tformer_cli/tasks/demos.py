"""What `tformer quickstart` shows of each family: a task on built-in data, and examples of its use.

Nothing here needs torch until a demo runs.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tformer_cli.train.restore import Opened

SHOWN = 5
"""Number of translations, digits or numbers that are shown."""
SHADES = " .:-=+*#%@"


@dataclass(frozen=True)
class Demo:
    """The quickstart of one family.

    Attributes:
        about: what is trained.
        heading: a line above the examples.
        examples: returns lines that show predictions of the trained run for some inputs, and one of the inputs.
        command: how to predict for such an input; RUN and INPUT are filled in.
        minutes: limit of the training, evaluations included, unless the whole budget of the recipe is asked for.
        needs: a library of the extra `demo`; empty: none.
    """

    about: str
    heading: str
    examples: Callable[[Opened], tuple[list[str], str]]
    command: str
    minutes: float
    needs: str = ""

    @property
    def possible(self) -> bool:
        """Return whether what it needs is installed."""
        return not self.needs or importlib.util.find_spec(self.needs) is not None


def translations(opened: Opened) -> tuple[list[str], str]:
    """Return test sentences with their translations, which the grammar judges."""
    from tformer_cli.builtin import parallel

    pairs = parallel(opened.config.data.path, "test", size=SHOWN, seed=opened.config.seed)
    sources, lines = [source for source, _ in pairs], []
    for (source, reference), answer in zip(pairs, opened.predict(sources), strict=True):
        verdict = "right" if answer.text == reference else f"should be {reference}"
        lines.append(f"{source} -> {answer.text} ({verdict})")
    return lines, sources[0]


def fillings(opened: Opened) -> tuple[list[str], str]:
    """Return phrases of Python's documentation with missing letters, and the phrases filled in."""
    phrases = [
        "Ret<mask>rn the num<mask>er of ite<mask>s.",
        "If the f<mask>le does not e<mask>ist, an err<mask>r is raised.",
    ]
    answers = opened.predict(phrases)
    lines = [
        f"{phrase.replace('<mask>', '_')} -> {answer.text}" for phrase, answer in zip(phrases, answers, strict=True)
    ]
    return lines, phrases[0]


def continuation(opened: Opened) -> tuple[list[str], str]:
    """Return a beginning and its continuation."""
    prompt = "Return the"
    (answer,) = opened.predict([prompt])
    return [" ".join(f"{prompt}{answer.text}".split())], prompt


def digits(opened: Opened) -> tuple[list[str], str]:
    """Return test digits as characters, with their labels; one is written to the run folder as a file."""
    from tformer_cli.config.schema import BadSample, ImageExperiment
    from tformer_cli.data.image.images import read_images
    from tformer_cli.draw import png
    from tformer_cli.predictors.images import ImageClassificationPredictor

    config, predictor = opened.config, opened.task.predictor
    assert isinstance(predictor, ImageClassificationPredictor) and isinstance(config, ImageExperiment)
    test = read_images(config.data, "test", seed=config.seed, on_bad_sample=BadSample.stop)["test"]
    pictures, lines = [test.pixels[row] for row in range(SHOWN)], []
    for row in range(pictures[0].shape[0]):
        shades = ["".join(2 * SHADES[int(value) * len(SHADES) // 256] for value in p[row, :, 0]) for p in pictures]
        lines.append("  ".join(shades).rstrip())
    width = 2 * pictures[0].shape[1] + 2
    predictions = (answer.text.replace("\t", " ") for answer in predictor.answers(opened.model, pictures))
    lines.append("".join(f"{text:<{width}}" for text in predictions).rstrip())
    path = opened.run / "digit.png"
    path.write_bytes(png(pictures[0].repeat(3, axis=-1)))
    return lines, str(path)


def spoken_numbers(opened: Opened) -> tuple[list[str], str]:
    """Return test numbers with their transcripts; one is written to the run folder as a file."""
    from tformer_cli.builtin.spoken_numbers import spoken_numbers as synthesised
    from tformer_cli.data.speech.audio import to_sound, wav
    from tformer_cli.models.conformer.model import Conformer
    from tformer_cli.predictors.speech import SpeechRecogniser

    predictor = opened.task.predictor
    assert isinstance(predictor, SpeechRecogniser) and isinstance(opened.model, Conformer)
    rate, lines = predictor.config.data.sample_rate, []
    recordings = list(synthesised("test", SHOWN, opened.config.seed, rate))
    sounds = [to_sound(samples) for _, samples, _ in recordings]
    for (name, _, text), answer in zip(recordings, predictor.answers(opened.model, sounds), strict=True):
        verdict = "right" if answer.text == text else f"said was {text}"
        lines.append(f"{name.rpartition(', ')[2]} -> {answer.text} ({verdict})")
    path = opened.run / "number.wav"
    path.write_bytes(wav(sounds[0], rate))
    return lines, str(path)


DEMOS = {
    "translation": Demo(
        "a Transformer that translates English into Japanese",
        "some translations, held against what the grammar says:",
        translations,
        'echo "INPUT" | tformer translate RUN',
        minutes=1.0,
    ),
    "bert": Demo(
        "an encoder that fills in missing letters of Python's documentation",
        "some gaps and what it puts there:",
        fillings,
        'tformer predict RUN "INPUT"',
        minutes=0.7,
    ),
    "gpt": Demo(
        "a language model that writes like Python's documentation",
        "what it writes after two words:",
        continuation,
        'tformer predict RUN "INPUT" --max-length 100',
        minutes=0.4,
    ),
    "vit": Demo(
        "a Vision Transformer that reads handwritten digits",
        "some digits and what it takes them for:",
        digits,
        "tformer predict RUN INPUT --top 3",
        minutes=0.4,
        needs="sklearn",
    ),
    "conformer": Demo(
        "a Conformer that writes down spoken numbers",
        "some numbers that were not in training, or not in this voice, and what it hears:",
        spoken_numbers,
        "tformer predict RUN INPUT --json",
        minutes=0.9,
        needs="espeakng_loader",
    ),
}
"""By the name of the recipe `quickstart/NAME`, in the order in which all are shown.

The minutes add up to 3.4. Reading data, evaluations and examples come on top; all of it is to end within 5 minutes.
"""
OWN_DATA = "tformer pretrain translation/files data.path=FOLDER data.source_language=en data.target_language=de"
"""The command that trains on a user's own data."""
