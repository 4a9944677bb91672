"""What several integration tests share: one gateway in front of all three key providers."""

from collections.abc import Iterator

import pytest

from tests.support.openbao import OpenBao
from tests.support.softhsm import SoftHsm
from tests.support.three_providers import ThreeProviders, three_providers


@pytest.fixture(scope="package")
def providers(
    tmp_path_factory: pytest.TempPathFactory, softhsm: SoftHsm, openbao_server: OpenBao
) -> Iterator[ThreeProviders]:
    """A gateway with the providers software, hsm and openbao, and a key in each: add, never break."""
    with three_providers(tmp_path_factory.mktemp("providers") / "kms", softhsm, openbao_server) as running:
        yield running
