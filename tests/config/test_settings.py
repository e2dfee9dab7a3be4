import pytest

from batchexport.config import MaxFailures
from batchexport.errors import ConfigError


@pytest.mark.parametrize(
    ("text", "rows", "limit"), [("10", 1000, 10), ("5%", 1000, 50), ("5%", 30, 2), ("1%", 3, 1)]
)
def test_max_failures_are_a_number_or_a_share_rounded_up(text: str, rows: int, limit: int) -> None:
    assert MaxFailures.parse(text).limit(rows) == limit


def test_without_max_failures_there_is_no_limit() -> None:
    assert MaxFailures().limit(1000) is None


@pytest.mark.parametrize("text", ["", "0", "-1", "0%", "101%", "nan%", "few", "5 %x"])
def test_other_max_failures_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="neither a number from 1"):
        MaxFailures.parse(text)
