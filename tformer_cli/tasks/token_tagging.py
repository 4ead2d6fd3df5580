"""Token tagging: an encoder fine-tuned on a tag for each word, such as named entities or parts of speech."""

from __future__ import annotations

from tformer_cli.data.text.tagged_words import TaggedWords
from tformer_cli.evaluators.tagging import TaggingEvaluator
from tformer_cli.inspectors.encoders import TaggingInspector
from tformer_cli.models.registry import build_token_encoder
from tformer_cli.models.token_heads import TokenClassifier
from tformer_cli.objectives.tagging import Tagging
from tformer_cli.predictors.tagging import Tagger
from tformer_cli.tasks.settings.text import TokenTaggingExperiment
from tformer_cli.tasks.task import Phase, Task


def build(config: TokenTaggingExperiment) -> Task:
    """Return the task of tagging words with an encoder."""
    data = TaggedWords(config)
    objective = Tagging(data, config.optim.label_smoothing)
    predictor = Tagger(data)
    return Task(
        config,
        data,
        body=lambda: build_token_encoder(config.model, data.sizes()),
        assemble=lambda encoder: TokenClassifier(encoder, config.head, len(data.tags)),
        phases=[Phase(objective)],
        evaluator=TaggingEvaluator(objective),
        predictor=predictor,
        inspector=TaggingInspector(predictor),
        use='tformer predict {run} "TEXT"',
    )
