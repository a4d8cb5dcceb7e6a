"""The engine promises the same on every device."""

from __future__ import annotations

import pytest


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def model(request, model):
    return model.to(request.param)
