"""The registry of tasks: the settings of each task, its implementation, and the model interfaces that it can use.

The settings are in `tformer_cli.tasks.settings`, by kind of data; they name the default model family. This module does
not import torch; the implementation of a task is imported when a configuration names it.
"""

from __future__ import annotations

from tformer_cli.config.experiments import TaskEntry
from tformer_cli.config.schema import Experiment
from tformer_cli.tasks.settings.images import (
    CaptioningExperiment,
    ImageClassificationExperiment,
    ImageGenerationExperiment,
    MaskedPatchesExperiment,
)
from tformer_cli.tasks.settings.speech import SpeechRecognitionExperiment, SpeechTranslationExperiment
from tformer_cli.tasks.settings.text import (
    LanguageModelExperiment,
    MaskedLanguageModelExperiment,
    QuestionAnsweringExperiment,
    TextClassificationExperiment,
    TokenTaggingExperiment,
    TranslationExperiment,
)


def _entry(experiment: type[Experiment], implementation: str, *needs: str) -> TaskEntry:
    return TaskEntry(experiment, f"tformer_cli.tasks.{implementation}", needs)


TASKS: dict[str, TaskEntry] = {
    entry.name: entry
    for entry in (
        _entry(TranslationExperiment, "translation:build", "encoder_decoder", "token_editor"),
        _entry(LanguageModelExperiment, "language_model:build", "causal_decoder"),
        _entry(MaskedLanguageModelExperiment, "masked_language_model:build", "masked_token_encoder"),
        _entry(TextClassificationExperiment, "text_classification:build", "token_encoder"),
        _entry(TokenTaggingExperiment, "token_tagging:build", "token_encoder", "causal_decoder"),
        _entry(QuestionAnsweringExperiment, "question_answering:build", "token_encoder"),
        _entry(ImageClassificationExperiment, "image_classification:build", "image_encoder"),
        _entry(CaptioningExperiment, "captioning:build", "image_memory"),
        _entry(MaskedPatchesExperiment, "masked_patches:build", "patch_encoder"),
        _entry(ImageGenerationExperiment, "image_generation:build", "image_generator"),
        _entry(SpeechRecognitionExperiment, "speech_recognition:build", "speech_recogniser"),
        _entry(SpeechTranslationExperiment, "speech_translation:build", "recording_encoder"),
    )
}
ALIASES: dict[str, tuple[str, str]] = {"resnet_classification": ("image_classification", "resnet")}
"""Former names of tasks: the task, and the family that the name implied."""
