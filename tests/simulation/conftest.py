"""Every test here has hours in no time."""

from collections.abc import Mapping
from typing import Any

import pytest

from tests.doubles.virtual_loop import VIRTUAL


@pytest.fixture
def anyio_backend() -> tuple[str, Mapping[str, Any]]:
    return VIRTUAL
