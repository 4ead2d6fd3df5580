"""What must hold of training with regularisers, too: properties of `test_training`."""

from __future__ import annotations

import pytest

from tests.properties.families import DISAGREE, FAMILIES, REGULARISED, Family
from tests.properties.test_training import (
    test_a_rank_without_a_row_of_its_own_changes_nothing as test_a_rank_without_a_row_of_its_own_changes_nothing,
)
from tests.properties.test_training import test_accumulation_is_a_larger_batch as accumulation_is_a_larger_batch
from tests.properties.test_training import (
    test_resumed_run_ends_with_the_same_bytes as test_resumed_run_ends_with_the_same_bytes,
)

WITH_HEADS = [family for family in FAMILIES if any(setting.startswith("model.heads=") for setting in family.settings)]


@pytest.fixture(params=REGULARISED, ids=lambda family: family.name)
def family(request: pytest.FixtureRequest) -> Family:
    return request.param


def test_accumulation_is_a_larger_batch(family, tmp_path):
    accumulation_is_a_larger_batch(family, tmp_path, clip_norm=0)


@pytest.mark.parametrize("of", WITH_HEADS, ids=lambda family: family.name)
def test_a_disagreement_is_the_same_however_a_step_is_divided(of, tmp_path):
    settings = [*of.settings, *DISAGREE]
    accumulation_is_a_larger_batch(Family(of.name, of.recipe, settings, of.inputs, of.same), tmp_path, clip_norm=0)
