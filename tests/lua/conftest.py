"""A queue to experiment on."""

from __future__ import annotations

import pytest

from redjobs.keys import Keys
from tests.lua.seeds import Lab
from tests.servers import Server


@pytest.fixture
def lab(server: Server, keys: Keys) -> Lab:
    return Lab(server, keys)
