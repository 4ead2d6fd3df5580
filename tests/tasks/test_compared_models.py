"""Models that are compared differ in what is compared, and not in their regularisation."""

from __future__ import annotations

import pytest

from laboratory import small_translators
from tformer_cli.config.compose import compose
from tformer_cli.tasks.demos import COMPARISONS

LABORATORY = {
    name: settings
    for name, settings in vars(small_translators).items()
    if name.isupper() and isinstance(settings, tuple)
}


@pytest.mark.parametrize(
    "models", [COMPARISONS["lineage"].settings, LABORATORY], ids=["quickstart lineage", "laboratory"]
)
def test_models_of_a_comparison_have_no_dropout(models):
    """Choosing a model replaces the dropout of the recipe, if the model's option has one."""
    configs = [compose("quickstart/lineage", list(settings)) for settings in models.values()]
    assert [config.model.dropout for config in configs] == [0.0] * len(models) and len(models) >= 4
