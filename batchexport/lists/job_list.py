"""A job list as a stream of rows and problems."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from batchexport.dialect import Dialect
from batchexport.lists.csv_list import read_csv
from batchexport.lists.formats import ForeignFileError, Format, detect
from batchexport.lists.json_list import read_json, read_json_lines
from batchexport.lists.printed import read_ids, read_table
from batchexport.lists.problem import NoRowsError, Problem
from batchexport.lists.rows import Parts, Place
from batchexport.lists.source import Source, name_of, opened
from batchexport.lists.yaml_list import read_yaml
from batchexport.model import JobRow, JobRows

_READERS: dict[Format, Callable[[Source, Dialect | None], Parts]] = {
    Format.CSV: read_csv,
    Format.IDS: read_ids,
    Format.TABLE: read_table,
    Format.JSON: read_json,
    Format.JSON_LINES: read_json_lines,
    Format.YAML: read_yaml,
}


class JobList:
    """The rows of a job list, each checked as it is read; iterate it once.

    Yields a JobRow for a good row and a Problem for everything wrong with a bad one, in file order. CSV and
    JSON Lines are read as a stream: memory does not grow with the list. Raises JobListError for what cannot
    be read at all or has no rows. Whether two rows ask for the same volume or name is not looked at here.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        dialect: Dialect | None = None,
        stdin: BinaryIO | None = None,
        may_be_empty: bool = False,
        encoding: str | None = None,
    ) -> None:
        """`source` `-` is standard input, or `stdin` if given. Rows are checked by the rules of `dialect`.

        Without one, a disk format or a name passes if either family of clouds takes it. A list that a person
        wrote has rows; one that was made of what fits `may_be_empty`. `encoding` is a codec of Python; None =
        UTF-8, or UTF-16 where a mark says so.
        """
        self.name = name_of(source)  #: for messages
        self.sha256 = ""  #: of the bytes as they are in the file, in hex; set when the last row was read
        self.rows = 0  #: data rows, good and bad; set when the last row was read
        self._source = source
        self._dialect = dialect
        self._stdin = stdin
        self._may_be_empty = may_be_empty
        self._encoding = encoding

    def __iter__(self) -> Iterator[JobRow | Problem]:
        for item in self.parts():
            if isinstance(item, JobRows):
                yield from item
            else:
                yield item

    def parts(self) -> Iterator[JobRow | JobRows | Problem]:
        """The same, with rows that could be checked together in one piece. Instead of iterating, and once."""
        with opened(self._source, stdin=self._stdin, encoding=self._encoding) as source:
            try:
                self.rows = yield from self._read(source)
            except NoRowsError:
                if not self._may_be_empty:
                    raise
            self.sha256 = source.sha256()

    def _read(self, source: Source) -> Parts:
        try:
            reader = _READERS[detect(source.head)]
        except ForeignFileError as error:
            yield Place(source=self.name, line=1).problem(f"the file {error}")
            return 0
        return (yield from reader(source, self._dialect))
