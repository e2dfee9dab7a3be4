import pytest

from batchexport.errors import StateError
from batchexport.whole_file import write_whole


def test_text_takes_the_place_of_what_was_there(tmp_path):
    path = tmp_path / "a.prom"
    for text in ("first\n", "größer\n"):
        write_whole(path, [text])
        assert path.read_bytes() == text.encode()
    assert list(tmp_path.iterdir()) == [path]


def test_what_cannot_be_written_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.prom"
    path.mkdir()
    with pytest.raises(OSError):
        write_whole(path, ["new"])
    assert list(tmp_path.iterdir()) == [path]


def test_what_breaks_off_in_the_middle_leaves_the_old_file(tmp_path):
    def parts():
        yield "half"
        raise StateError("damaged")

    path = tmp_path / "a.csv"
    write_whole(path, ["whole"])
    with pytest.raises(StateError):
        write_whole(path, parts())
    assert path.read_text() == "whole"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        write_whole(tmp_path / "no" / "a.prom", ["new"])
