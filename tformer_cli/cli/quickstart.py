"""`tformer quickstart`: each family from nothing to a use, on data that comes with tformer."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from tformer_cli.cli.choices import one_of
from tformer_cli.errors import ConfigError, install_command

if TYPE_CHECKING:
    from tformer_cli.train.restore import Opened

SHOWN = 5  # translations, digits, numbers
SHADES = " .:-=+*#%@"


@dataclass(frozen=True)
class Turn:
    """What the quickstart shows of one family.

    Attributes:
        about: what is trained, for the reader.
        heading: stands above the examples.
        examples: prints what the trained run makes of some inputs, and gives one of them.
        command: how to go on with such an input; RUN and INPUT are filled in.
        needs: a library of the extra `demo`; empty: none.
    """

    about: str
    heading: str
    examples: Callable[[Opened], str]
    command: str
    needs: str = ""

    @property
    def possible(self) -> bool:
        """Whether what it needs is installed."""
        return not self.needs or importlib.util.find_spec(self.needs) is not None


def translations(opened: Opened) -> str:
    """Test sentences in translation, judged by the grammar."""
    from tformer_cli.builtin import parallel
    from tformer_cli.cli.output import result

    pairs = parallel(opened.config.data.path, "test", size=SHOWN, seed=opened.config.seed)
    sources = [source for source, _ in pairs]
    for (source, reference), answer in zip(pairs, opened.predict(sources), strict=True):
        verdict = "right" if answer.text == reference else f"should be {reference}"
        result(f"{source} -> {answer.text} ({verdict})\n")
    return sources[0]


def fillings(opened: Opened) -> str:
    """Phrases of Python's documentation with missing letters, and the phrases filled in."""
    from tformer_cli.cli.output import result

    phrases = [
        "Ret<mask>rn the num<mask>er of ite<mask>s.",
        "If the f<mask>le does not e<mask>ist, an err<mask>r is raised.",
    ]
    for phrase, answer in zip(phrases, opened.predict(phrases), strict=True):
        result(f"{phrase.replace('<mask>', '_')} -> {answer.text}\n")
    return phrases[0]


def continuation(opened: Opened) -> str:
    """A beginning, written on."""
    from tformer_cli.cli.output import result

    prompt = "Return the"
    (answer,) = opened.predict([prompt])
    result(" ".join(f"{prompt}{answer.text}".split()) + "\n")
    return prompt


def digits(opened: Opened) -> str:
    """Test digits as they look, and what they are taken for; one is left in the run folder as a file."""
    from tformer_cli.cli.output import result
    from tformer_cli.config.schema import BadSample, ImageExperiment
    from tformer_cli.data.image.images import read_images
    from tformer_cli.draw import png
    from tformer_cli.predictors.images import ImageClassificationPredictor

    task, config = opened.task, opened.config
    predictor = task.predictor
    assert isinstance(predictor, ImageClassificationPredictor) and isinstance(config, ImageExperiment)
    test = read_images(config.data, "test", seed=config.seed, on_bad_sample=BadSample.stop)["test"]
    pictures = [test.pixels[row] for row in range(SHOWN)]
    for line in range(pictures[0].shape[0]):
        shades = ["".join(2 * SHADES[int(value) * len(SHADES) // 256] for value in p[line, :, 0]) for p in pictures]
        result("  ".join(shades).rstrip() + "\n")
    width = 2 * pictures[0].shape[1] + 2
    predictions = (answer.text.replace("\t", " ") for answer in predictor.answers(opened.model, pictures))
    result("".join(f"{text:<{width}}" for text in predictions).rstrip() + "\n")
    path = opened.run / "digit.png"
    path.write_bytes(png(pictures[0].repeat(3, axis=-1)))
    return str(path)


def spoken_numbers(opened: Opened) -> str:
    """Test numbers as they were said, and what is heard; one is left in the run folder as a file."""
    from tformer_cli.builtin.spoken_numbers import spoken_numbers as synthesised
    from tformer_cli.cli.output import result
    from tformer_cli.data.speech.audio import to_sound, wav
    from tformer_cli.models.conformer.model import Conformer
    from tformer_cli.predictors.speech import SpeechRecogniser

    predictor = opened.task.predictor
    assert isinstance(predictor, SpeechRecogniser) and isinstance(opened.model, Conformer)
    rate = predictor.config.data.sample_rate
    recordings = list(synthesised("test", SHOWN, opened.config.seed, rate))
    sounds = [to_sound(samples) for _, samples, _ in recordings]
    for (name, _, text), answer in zip(recordings, predictor.answers(opened.model, sounds), strict=True):
        verdict = "right" if answer.text == text else f"said was {text}"
        result(f"{name.rpartition(', ')[2]} -> {answer.text} ({verdict})\n")
    path = opened.run / "number.wav"
    path.write_bytes(wav(sounds[0], rate))
    return str(path)


TURNS = {
    "translation": Turn(
        "a Transformer that translates English into Japanese",
        "some translations, held against what the grammar says:",
        translations,
        'echo "INPUT" | tformer translate RUN',
    ),
    "bert": Turn(
        "an encoder that fills in missing letters of Python's documentation",
        "some gaps and what it puts there:",
        fillings,
        'tformer predict RUN "INPUT"',
    ),
    "gpt": Turn(
        "a language model that writes like Python's documentation",
        "what it writes after two words:",
        continuation,
        'tformer predict RUN "INPUT" --max-length 100',
    ),
    "vit": Turn(
        "a Vision Transformer that reads handwritten digits",
        "some digits and what it takes them for:",
        digits,
        "tformer predict RUN INPUT --top 3",
        needs="sklearn",
    ),
    "conformer": Turn(
        "a Conformer that writes down spoken numbers",
        "some numbers that were not in training, or not in this voice, and what it hears:",
        spoken_numbers,
        "tformer predict RUN INPUT --json",
        needs="espeakng_loader",
    ),
}


def quickstart(
    families: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[FAMILY]...", help=f"{', '.join(TURNS)}; none: each in turn.", autocompletion=one_of(*TURNS)
        ),
    ] = None,
    minutes: Annotated[
        float | None,
        typer.Option(
            "--minutes",
            help="Training time of each, evaluations included; reading data before it, and the last evaluation and the "
            "scores after it, come on top.  [default: the recipe's steps]",
            show_default=False,
        ),
    ] = None,
    run: Annotated[
        Path | None,
        typer.Option(
            "--run",
            help="Folder of the run, or of the runs if there are several.  [default: runs/quickstart/FAMILY/NUMBER]",
            show_default=False,
        ),
    ] = None,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing but results and errors.")] = False,
) -> None:
    """Train a small model of each family on built-in data, use it, score it, and say what to do next."""
    from tformer_cli.cli.output import note
    from tformer_cli.cli.run_folders import check_run, new_run
    from tformer_cli.config.compose import compose

    for family in families or []:
        if family not in TURNS:
            raise ConfigError(f"quickstart has no family {family!r}", f"take one of {', '.join(TURNS)}")
        if not TURNS[family].possible:
            raise ConfigError(f"{family} needs {TURNS[family].needs}, which is not installed", install_command("demo"))
    for family, turn in TURNS.items():
        if not families and not turn.possible:
            note(f"{family} is left out: it needs {turn.needs} ({install_command('demo')})", quiet=quiet)
    chosen = list(dict.fromkeys(families or (family for family, turn in TURNS.items() if turn.possible)))
    configs = {family: compose(f"quickstart/{family}", _length(minutes)) for family in chosen}
    runs = {family: run / family if run and len(chosen) > 1 else run for family in chosen}
    runs = {family: given or new_run(f"quickstart/{family}") for family, given in runs.items()}
    for folder in runs.values():
        check_run(folder, resume=False)
    inputs = {}
    for number, family in enumerate(chosen, start=1):
        place = f"[{number}/{len(chosen)}] " if len(chosen) > 1 else ""
        note(f"\n{place}{family}: {TURNS[family].about}", quiet=quiet)
        inputs[family] = _show(TURNS[family], configs[family], runs[family], quiet)
    note(next_steps(runs, inputs), quiet=quiet)


def _length(minutes: float | None) -> list[str]:
    """Return the settings for a run of the given minutes; under a minute, evaluations decode few examples."""
    if minutes is None:
        return []
    if not minutes > 0:
        raise ConfigError(f"--minutes: {minutes:g} is no time to train", "give more than 0, as --minutes 1")
    short = ["trainer.evaluate_limit=20"] if minutes < 1 else []
    return ["trainer.steps=0", f"trainer.minutes={minutes}", *short]


def _show(turn: Turn, config: object, run: Path, quiet: bool) -> str:
    """Train, use and score one family; one of the inputs that were shown."""
    from tformer_cli.cli.evaluate import show
    from tformer_cli.cli.output import note
    from tformer_cli.train.evaluate import evaluate_run
    from tformer_cli.train.launch import launch
    from tformer_cli.train.restore import open_run

    launch(config, run, resume=False, initial=None, processes=1, quiet=quiet)
    note(f"\n{turn.heading}", quiet=quiet)
    shown = turn.examples(open_run(run))
    note("\nscores on what training has not seen:", quiet=quiet)
    show(evaluate_run(run, "test", overrides=[], checkpoint="", device="auto"))
    return shown


def next_steps(runs: dict[str, Path], inputs: dict[str, str]) -> str:
    """What someone who has seen the quickstart can type next."""
    commands = [
        (TURNS[family].command.replace("RUN", str(run)).replace("INPUT", inputs[family]), f"use the {family} run")
        for family, run in runs.items()
    ]
    commands += [
        (f"tensorboard --logdir {next(iter(runs.values()))}", "its curves"),
        ("tformer recipes", "what else there is"),
        (
            "tformer pretrain translation/files data.path=FOLDER data.source_language=en data.target_language=de",
            "your data",
        ),
    ]
    return "\nwhat next:\n" + "\n".join(f"  {command}    # {why}" for command, why in commands)
