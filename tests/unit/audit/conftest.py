"""What several tests of the audit log stand on."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from kmsgw.storage import State, open_state
from tests.contract.key_store_backends import sqlite_backend


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    """The state of a node with nothing in it yet."""
    opened = open_state(sqlite_backend(tmp_path).migrated().database)
    yield opened
    opened.close()
