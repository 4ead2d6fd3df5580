"""Speech recognition: recordings to text, by CTC, an attention decoder, or both (Watanabe et al. 2017)."""

from __future__ import annotations

from tformer_cli.data.speech.dataset import SpeechData
from tformer_cli.data.speech.fitting import Transcripts
from tformer_cli.evaluators.speech import SpeechEvaluator
from tformer_cli.inspectors.speech import SpeechRecognitionInspector
from tformer_cli.models.registry import build_body
from tformer_cli.objectives.ctc import CTC, JointCTCAttention
from tformer_cli.predictors.speech import SpeechRecogniser
from tformer_cli.tasks.settings.speech import SpeechRecognitionExperiment
from tformer_cli.tasks.task import Phase, Task


def build(config: SpeechRecognitionExperiment) -> Task:
    """Return the task of transcribing recordings."""
    data = SpeechData(config, Transcripts(config))
    if config.model.decoder_depth:
        objective = JointCTCAttention(data, config.objective.ctc_weight, config.optim.label_smoothing)
    else:
        objective = CTC(data)
    predictor = SpeechRecogniser(data)
    inspector = SpeechRecognitionInspector(predictor)
    return Task(
        config,
        data,
        body=lambda: build_body(config.model, data.sizes()),
        phases=[Phase(objective)],
        evaluator=SpeechEvaluator(objective, predictor, inspector),
        predictor=predictor,
        inspector=inspector,
        use="tformer predict {run} FILE",
        companions=predictor.companions(),
        suits=predictor.suits,
        accept=predictor.accept,
    )
