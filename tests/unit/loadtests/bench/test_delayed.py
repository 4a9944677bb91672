"""The provider that stands for an HSM on the network: slow, counted, and otherwise the software provider."""

import os
import time
from pathlib import Path

import pytest

from kmsgw.bootstrap import key_providers
from kmsgw.config import SoftwareSettings
from kmsgw.providers.base import MaterialRef
from loadtests.bench import delayed


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv(delayed.DELAY_VARIABLE, "20")
    monkeypatch.setenv(delayed.CALLS_VARIABLE, str(tmp_path / "calls"))
    monkeypatch.setattr(key_providers, "SoftwareProvider", key_providers.SoftwareProvider)  # type: ignore[attr-defined]
    delayed.slow_down()
    return tmp_path / "calls"


@pytest.mark.parametrize(("name", "slow"), [(delayed.PROVIDER, True), ("software", False)])
def test_only_the_provider_of_that_name_waits_and_is_counted(
    calls: Path, tmp_path: Path, name: str, slow: bool
) -> None:
    settings = SoftwareSettings(kind="software", root_key_file=tmp_path / "root.key")
    provider = key_providers.open_provider(name, settings)
    material = MaterialRef("ehr", 1, provider.create("ehr", 1))
    data_key = os.urandom(32)

    began = time.monotonic()
    wrapped = provider.wrap(material, data_key, b"aad")
    opened = provider.unwrap(material, wrapped, b"aad")

    assert opened == data_key
    if slow:
        assert time.monotonic() - began >= 0.04
    assert (calls.exists() and calls.stat().st_size == 2) is slow
