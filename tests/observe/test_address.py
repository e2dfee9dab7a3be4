import pytest

from batchexport.observe.metrics_server import parse_address


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("9105", "127.0.0.1", 9105),
        (":9105", "127.0.0.1", 9105),
        ("0.0.0.0:0", "0.0.0.0", 0),
        ("metrics.example:80", "metrics.example", 80),
        ("[::1]:9105", "::1", 9105),
    ],
)
def test_an_address_is_a_port_with_or_without_a_host(text: str, host: str, port: int) -> None:
    assert parse_address(text) == (host, port)


@pytest.mark.parametrize(
    "text", ["", "host", "host:", "host:port", "1:65536", "::1:80", "[::1]", "1:-1", "1:²"]
)
def test_anything_else_is_no_address(text: str) -> None:
    with pytest.raises(ValueError, match="is not an address"):
        parse_address(text)


def test_an_address_reads_as_it_is_written() -> None:
    assert [str(parse_address(text)) for text in ("9105", "[::1]:80")] == ["127.0.0.1:9105", "[::1]:80"]
