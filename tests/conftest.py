"""Fixtures of the whole suite. Each server has a plugin of its own in tests/support."""

from importlib.util import find_spec

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
