from __future__ import annotations

import pytest

from tests.properties.families import FAMILIES


@pytest.fixture(params=FAMILIES, ids=lambda family: family.name)
def family(request):
    return request.param
