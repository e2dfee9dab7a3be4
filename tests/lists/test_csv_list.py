from __future__ import annotations

from collections.abc import Callable

import pytest

from batchexport.dialect import CINDER, EVS
from batchexport.errors import JobListError
from batchexport.lists import REPORT_COLUMNS
from batchexport.model import NO_OPTIONS, ImageOptions, TargetKey
from tests.lists.conftest import Reading

A = "16369c5d-384d-4e64-b37a-56d898769362"
B = "c5333daa-fbc8-4d1d-bf79-b0567bb45d15"


def test_a_row_says_what_its_cells_say(read: Callable[..., Reading]) -> None:
    text = (
        "volume_id,image_name,disk_format,container_format,force,os_type,timeout,cloud,region,project\n"
        f"{A},db 01,VHD,bare,yes,Windows,90m,otc,eu-de,shop\n"
    )
    (row,) = read(text).rows
    assert (row.line, row.volume_id, row.image_name) == (2, A, "db 01")
    assert row.target == TargetKey("otc", "eu-de", "shop")
    assert row.options == ImageOptions(
        disk_format="vhd", container_format="bare", force=True, os_type="windows", timeout_s=5400.0
    )


def test_an_empty_cell_says_nothing(read: Callable[..., Reading]) -> None:
    (row,) = read(f"volume_id,image_name,disk_format,cloud\n{A},,,\n").rows
    assert row.image_name is None
    assert row.options is NO_OPTIONS
    assert row.target == TargetKey()


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_every_spreadsheet_dialect_reads_the_same(
    read: Callable[..., Reading], separator: str, line_end: str, mark: str
) -> None:
    lines = [["volume_id", "image_name", "force"], [A, "web", "1"], [], [B, '"数据 盘"', "no"]]
    reading = read(mark + line_end.join(separator.join(cells) for cells in lines) + line_end)
    assert reading.told == []
    found = [(row.line, row.volume_id, row.image_name, row.options.force) for row in reading.rows]
    assert found == [(2, A, "web", True), (4, B, "数据 盘", False)]


def test_rows_that_say_the_same_share_one_record_of_it(read: Callable[..., Reading]) -> None:
    first, second = read(f"volume_id,disk_format,cloud\n{A},raw,otc\n{B},raw,otc\n").rows
    assert first.options is second.options
    assert first.target is second.target


def test_more_combinations_of_options_than_are_remembered_are_all_right(read: Callable[..., Reading]) -> None:
    rows = "".join(f"{A},{second}s\n" for second in range(1, 2501))
    timeouts = [row.options.timeout_s for row in read(f"volume_id,timeout\n{rows}").rows]
    assert timeouts == list(range(1, 2501))


def test_an_id_in_capitals_or_without_hyphens_becomes_canonical(read: Callable[..., Reading]) -> None:
    rows = read(f"volume_id\n{A.upper()}\n{B.replace('-', '')}\n  {A} \n").rows
    assert [row.volume_id for row in rows] == [A, B, A]


def test_rows_of_blanks_are_no_rows(read: Callable[..., Reading]) -> None:
    reading = read(f"volume_id,image_name\n\n   \n , \n{A},web\n,,,\n")
    assert (reading.job_list.rows, reading.told) == (1, [])
    assert reading.rows[0].line == 5


def test_a_last_line_without_its_end_counts(read: Callable[..., Reading]) -> None:
    assert read(f"volume_id\n{A}\n{B}").job_list.rows == 2


def test_a_line_that_begins_with_a_hash_is_a_comment(read: Callable[..., Reading]) -> None:
    reading = read(f"# wave 1\n\nvolume_id,image_name\n# databases, first\n#{A},old\n{B},db\n")
    assert [row.line for row in reading.rows] == [6]
    assert (reading.job_list.rows, reading.told) == (1, [])


def test_a_hash_before_another_column_is_never_silently_either(read: Callable[..., Reading]) -> None:
    reading = read(f"image_name,volume_id\n#web,{A}\n", CINDER)
    assert reading.told == [
        "line 2: begins with #, which marks a comment only where volume_id is the first column"
    ]


def test_a_line_with_too_few_cells_is_a_problem_and_the_next_is_read(read: Callable[..., Reading]) -> None:
    reading = read(f"volume_id,image_name,force\n{A},web\n{B},db,no\n")
    assert reading.told == [
        "line 2: has 2 cells where the header has 3; a value that holds a separator goes in quotes"
    ]
    assert [row.volume_id for row in reading.rows] == [B]
    assert reading.job_list.rows == 2


def test_a_line_with_too_many_cells_is_a_problem(read: Callable[..., Reading]) -> None:
    assert "has 4 cells where the header has 2" in read(f"volume_id,image_name\n{A},web,, 01\n").told[0]


def test_empty_cells_behind_the_last_column_do_no_harm(read: Callable[..., Reading]) -> None:
    reading = read(f"volume_id,image_name,,\n{A},web,,\n{B},db\n")
    assert reading.told == []
    assert [row.image_name for row in reading.rows] == ["web", "db"]


def test_every_fault_of_a_row_is_told(read: Callable[..., Reading]) -> None:
    reading = read(
        "volume_id,image_name,disk_format,force,timeout\nvol-7,a/b,vmdk2,perhaps,soon\n,x,raw,no,1h\n", EVS
    )
    assert [(problem.line, problem.field) for problem in reading.problems] == [
        (2, "volume_id"),
        (2, "image_name"),
        (2, "disk_format"),
        (2, "force"),
        (2, "timeout"),
        (3, "volume_id"),
    ]
    assert reading.told[-1] == "line 3, volume_id: is missing"
    assert reading.job_list.rows == 2


def test_a_quoted_cell_may_hold_the_separator_and_quotes(read: Callable[..., Reading]) -> None:
    (row,) = read(f'volume_id,image_name\n{A},"web, ""new"""\n', CINDER).rows
    assert row.image_name == 'web, "new"'


def test_the_line_of_a_row_is_where_it_starts(read: Callable[..., Reading]) -> None:
    reading = read(f'volume_id,reason\n{A},"two\nlines"\n{B},one\n')
    assert [row.line for row in reading.rows] == [2, 4]


def test_an_unclosed_quote_is_told_where_it_opens(read: Callable[..., Reading]) -> None:
    reading = read(f'volume_id,image_name\n{A},web\n{B},"db\n{A},web\n')
    assert reading.told == ["line 3: opens a quote that is never closed"]


def test_reading_goes_on_behind_text_after_a_quote(read: Callable[..., Reading]) -> None:
    reading = read(f'volume_id,image_name\n{A},"web"2\n{B},db\n')
    assert reading.told == [
        'line 2: has text behind a closing quote; inside a quoted cell, write a quote twice: ""'
    ]
    assert [row.line for row in reading.rows] == [3]


def test_a_cell_beyond_the_limit_of_csv_is_a_problem(read: Callable[..., Reading]) -> None:
    reading = read(f"volume_id,image_name\n{A},{'x' * 140_000}\n{B},db\n")
    assert [problem.line for problem in reading.problems] == [2]
    assert "more than 131,072 characters" in reading.told[0]
    assert [row.line for row in reading.rows] == [3]


def test_a_carriage_return_inside_a_row_ends_it(read: Callable[..., Reading]) -> None:
    reading = read(f"volume_id,image_name\n{A},we\rb\n")
    assert [problem.line for problem in reading.problems] == [3]


def test_nul_bytes_are_problems(read: Callable[..., Reading]) -> None:
    reading = read(f"volume_id,image_name\n{A},we\0b\n\0\0\0\n")
    assert [problem.line for problem in reading.problems] == [2, 3]
    assert 'image_name: "we\\x00b" has a control character (U+0000) at position 3' in reading.told[0]


def test_a_byte_that_is_not_utf8_is_told_with_its_line(read: Callable[..., Reading]) -> None:
    reading = read(f"volume_id,image_name\n{A},web\n{B},M".encode() + b"\xfcller\n" + f"{A},db\n".encode())
    (told,) = reading.told
    assert told.startswith("line 3: is not UTF-8: byte 0xFC in cell 2; save the list as UTF-8")
    assert [row.line for row in reading.rows] == [2, 4]


def test_a_wrong_byte_in_a_column_that_is_not_read_is_a_problem_too(read: Callable[..., Reading]) -> None:
    reading = read(f"volume_id,reason\n{A},".encode() + b"\xe4\n", CINDER)
    assert [problem.line for problem in reading.problems] == [2]


def test_a_report_is_a_valid_list(read: Callable[..., Reading]) -> None:
    header = ",".join(("volume_id", "image_name", *REPORT_COLUMNS))
    reading = read(f"{header}\n{A},web{',x' * len(REPORT_COLUMNS)}\n")
    assert reading.told == []
    assert reading.rows[0].image_name == "web"


def test_a_list_by_the_openstack_client_is_read_without_its_names(read: Callable[..., Reading]) -> None:
    text = f'"ID","Name","Status","Size","Attached to"\n"{A}","db disk","available",40,"[]"\n'
    reading = read(text)
    assert reading.told == []
    assert (reading.rows[0].volume_id, reading.rows[0].image_name) == (A, None)


def test_a_list_without_rows_is_refused(read: Callable[..., Reading]) -> None:
    with pytest.raises(JobListError, match="has no rows") as caught:
        read("volume_id,image_name\n\n# none yet\n")
    assert caught.value.exit_code == 2
    assert "under the header" in (caught.value.hint or "")


def test_a_list_of_nothing_but_comments_is_refused(read: Callable[..., Reading]) -> None:
    with pytest.raises(JobListError, match="is empty"):
        read("# to be filled\n\n")
