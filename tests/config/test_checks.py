"""Settings of speech whose combinations are invalid."""

from __future__ import annotations

import pytest

from tformer_cli.config.experiments import check_together
from tformer_cli.config.schema import Normalisation, Positions
from tformer_cli.errors import ConfigError
from tformer_cli.models.conformer import ConformerConfig
from tformer_cli.tasks.settings.speech import SpeechRecognitionExperiment


def failure(**settings) -> str:
    with pytest.raises(ConfigError) as caught:
        check_together(SpeechRecognitionExperiment(model=ConformerConfig(**settings)))
    return str(caught.value)


def test_the_defaults_go_together() -> None:
    check_together(SpeechRecognitionExperiment())


@pytest.mark.parametrize(
    ("settings", "key", "remedy"),
    [
        ({"kernel_size": 32}, "model.kernel_size: must be odd, not 32", "model.kernel_size=31"),
        ({"subsampling": 6}, "model.subsampling: 6", "model.subsampling=4"),
        (
            {"causal_convolution": True, "convolution_norm": Normalisation.group},
            "model.convolution_norm: group",
            "model.convolution_norm=layer",
        ),
        ({"positions": Positions.learned_2d}, "model.positions: learned_2d", "model.positions=learned"),
        ({"dim": 145, "heads": 5}, "model.positions: transformer_xl", "model.dim=150"),
    ],
)
def test_impossible_combinations_name_the_key_and_what_would_go(settings: dict, key: str, remedy: str) -> None:
    answer = failure(**settings)
    assert answer.startswith(key) and answer.endswith(remedy) and "\n" not in answer
