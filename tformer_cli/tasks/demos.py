"""The demonstrations of `tformer quickstart`: five tasks on built-in data, with examples of their use.

This module imports torch only when a demonstration runs.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tformer_cli.trained.opening import Opened

SHOWN = 5
"""Number of translations, digits or numbers that are shown."""
SHADES = " .:-=+*#%@"


@dataclass(frozen=True)
class ComparedModels:
    """Models that are trained with one recipe and the same minutes each, and then compared.

    Attributes:
        about: description of the comparison.
        settings: settings of each model besides those of the recipe, by the name of its run; the first is the baseline.
            All models have about as many parameters.
        by: groups of examples whose scores are compared, as in `tformer compare --by`.
        metric: score that is compared.
    """

    about: str
    settings: Mapping[str, Sequence[str]]
    by: str
    metric: str


@dataclass(frozen=True)
class Demo:
    """The demonstration of one family.

    Attributes:
        about: description of the model.
        heading: line above the examples.
        examples: function of the trained run that returns lines with its predictions, and one of the inputs.
        command: command that predicts for such an input, with placeholders RUN and INPUT.
        minutes: limit of the training time, including evaluations, unless the full budget of the recipe is requested.
        needs: required library of the extra `demo`; empty: none.
    """

    about: str
    heading: str
    examples: Callable[[Opened], tuple[list[str], str]]
    command: str
    minutes: float
    needs: str = ""

    @property
    def possible(self) -> bool:
        """Whether the required library is installed."""
        return not self.needs or importlib.util.find_spec(self.needs) is not None


def translations(opened: Opened) -> tuple[list[str], str]:
    """Return test sentences with their translations, compared with the references of the grammar."""
    from tformer_cli.builtin import parallel

    pairs = parallel(opened.config.data.path, "test", size=SHOWN, seed=opened.config.seed)
    sources, lines = [source for source, _ in pairs], []
    for (source, reference), answer in zip(pairs, opened.predict(sources), strict=True):
        verdict = "correct" if answer.text == reference else f"should be {reference}"
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
    """Return a prompt with its continuation."""
    prompt = "Return the"
    (answer,) = opened.predict([prompt])
    return [" ".join(f"{prompt}{answer.text}".split())], prompt


def digits(opened: Opened) -> tuple[list[str], str]:
    """Return test digits, drawn with characters, with their predicted labels, and write one to the run folder."""
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
    """Return test numbers with their transcripts, and write one recording to the run folder."""
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
        verdict = "correct" if answer.text == text else f"should be {text}"
        lines.append(f"{name.rpartition(', ')[2]} -> {answer.text} ({verdict})")
    path = opened.run / "number.wav"
    path.write_bytes(wav(sounds[0], rate))
    return lines, str(path)


DEMOS = {
    "translation": Demo(
        "a Transformer that translates English into Japanese",
        "translations of test sentences:",
        translations,
        'echo "INPUT" | tformer translate RUN',
        minutes=1.0,
    ),
    "bert": Demo(
        "an encoder that fills in missing letters of Python's documentation",
        "test phrases with the predicted letters:",
        fillings,
        'tformer predict RUN "INPUT"',
        minutes=0.6,
    ),
    "gpt": Demo(
        "a language model of Python's documentation",
        "a continuation of two words:",
        continuation,
        'tformer predict RUN "INPUT" --max-length 100',
        minutes=0.4,
    ),
    "vit": Demo(
        "a Vision Transformer that classifies handwritten digits",
        "test digits with the predicted labels:",
        digits,
        "tformer predict RUN INPUT --top 3",
        minutes=0.5,
        needs="sklearn",
    ),
    "conformer": Demo(
        "a Conformer that transcribes spoken numbers",
        "test numbers, or test voices, with the predicted transcripts:",
        spoken_numbers,
        "tformer predict RUN INPUT --json",
        minutes=1.0,
        needs="espeakng_loader",
    ),
}
"""The demonstrations by the NAME of their recipe `quickstart/NAME`, in the order of the list.

The minutes add up to 3.5. With reading data, evaluations and examples all demonstrations should take at most 5 minutes.
"""
COMPARISONS = {
    "lineage": ComparedModels(
        "one vector, a vector at every step, attention, and nothing but attention, each with the same minutes",
        {
            "fixed": ["model=recurrent_fixed", "model.dim=160"],
            "peeky": ["model=recurrent_peeky", "model.dim=192"],
            "bahdanau": ["model=recurrent_bahdanau", "model.dim=152"],
            "transformer": ["model=transformer_tiny", "model.encoder_depth=2", "model.decoder_depth=2",
                            "model.ffn_dim=512", "model.positions=rotary", "model.dropout=0"],
        },
        by="length",
        metric="exact_match",
    )
}  # fmt: skip
"""Comparisons by the NAME of their recipe `quickstart/NAME`; they run only when they are named."""
USER_DATA_COMMAND = (
    "tformer pretrain translation/files data.path=FOLDER data.source_language=en data.target_language=de"
)
"""A command that trains on data of the user."""
