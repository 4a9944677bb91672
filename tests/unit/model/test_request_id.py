"""Request ids: their form, and what has it."""

from datetime import UTC, datetime

import pytest

from kmsgw.model.request_id import is_request_id, new_request_id


def test_every_new_id_has_the_form() -> None:
    made = {new_request_id(datetime(2026, 3, 1, tzinfo=UTC)) for _ in range(300)}

    assert len(made) == 300
    assert all(is_request_id(each) for each in made)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "01JB2V7F3M",
        "4b5f0d6e-0f38-4b6b-8a57-6f0c9c1a7f3b",
        "01890a5d-ac96-774b-3cce-b302099a8057",
        "01890A5D-AC96-774B-BCCE-B302099A8057",
        "01890a5d-ac96-774b-bcce-b302099a8057\n",
        "01890a5dac96774bbcceb302099a8057",
    ],
)
def test_nothing_else_has_it(text: str) -> None:
    assert not is_request_id(text)
