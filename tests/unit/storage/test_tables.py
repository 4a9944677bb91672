"""Moments are stored as numbers and come back as they were."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from sqlalchemy.dialects import sqlite

from kmsgw.storage.tables import UtcTime

DIALECT = sqlite.dialect()


@pytest.mark.parametrize(
    "moment",
    [
        datetime(1970, 1, 1, tzinfo=UTC),
        datetime(1969, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(9999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC),
        datetime(2026, 6, 1, 12, 0, 0, 1, tzinfo=timezone(timedelta(hours=5, minutes=45))),
    ],
    ids=str,
)
def test_a_moment_is_kept_to_the_microsecond(moment: datetime) -> None:
    stored = UtcTime().process_bind_param(moment, DIALECT)
    read = UtcTime().process_result_value(stored, DIALECT)

    assert read == moment
    assert read is not None
    assert read.tzinfo is UTC


def test_a_naive_time_is_refused() -> None:
    naive = datetime(2026, 1, 1, tzinfo=UTC).replace(tzinfo=None)

    with pytest.raises(AssertionError):
        UtcTime().process_bind_param(naive, DIALECT)
