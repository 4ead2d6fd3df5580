"""The tasks, by name: one line a family."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tformer_cli.config.schema import Experiment
    from tformer_cli.tasks.task import Task


def build(config: Experiment) -> Task:
    """The task that a configuration names.

    Raises:
        ConfigError: if there is none of that name.
    """
    from tformer_cli.errors import ConfigError
    from tformer_cli.tasks import question_answering, text_classification, token_tagging, translation
    from tformer_cli.tasks.image_classification import ImageClassification
    from tformer_cli.tasks.language_model import LanguageModel
    from tformer_cli.tasks.masked_language_model import MaskedLanguageModel
    from tformer_cli.tasks.masked_patches import MaskedPatches
    from tformer_cli.tasks.speech_recognition import SpeechRecognition

    tasks: dict[str, Callable[[Any], Task]] = {
        "translation": translation.build,
        "language_model": LanguageModel,
        "masked_language_model": MaskedLanguageModel,
        "text_classification": text_classification.build,
        "token_tagging": token_tagging.build,
        "question_answering": question_answering.build,
        "image_classification": ImageClassification,
        "resnet_classification": ImageClassification,
        "masked_patches": MaskedPatches,
        "speech_recognition": SpeechRecognition,
    }
    if config.task not in tasks:
        raise ConfigError(f"task: no task {config.task!r}", f"there are: {', '.join(tasks)}")
    return tasks[config.task](config)
