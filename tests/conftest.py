"""Fixtures of the whole suite. Each server has a plugin of its own in tests/support."""

import signal
from importlib.util import find_spec
from pathlib import Path

import pytest
from hypothesis import settings

# How long an example takes says something of the machine, not of what is tested.
settings.register_profile("without a clock", deadline=None)
settings.load_profile("without a clock")

pytest_plugins = [
    name
    for name in (
        "tests.support.softhsm",
        "tests.support.openbao",
        "tests.support.postgres",
        "tests.support.gateway",
    )
    if find_spec(name) is not None
]

_LONG_FIRST = ("integration", "faults", "docs", "contract", "cli", "unit")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the folders whose files take longest: of several processes none idles while another has one left.

    So each process also comes to a folder once, and sets up once what the files of it share.
    """
    tests = Path(__file__).parent
    places = {folder: place for place, folder in enumerate(_LONG_FIRST)}
    items.sort(key=lambda item: places.get(item.path.relative_to(tests).parts[0], len(places)))


# A job that a shell starts in the background ignores Ctrl-C, and so would every process that the tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
