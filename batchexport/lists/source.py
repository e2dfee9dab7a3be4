"""The bytes of a job list: opened, hashed while they are read, cut at line ends, decoded."""

from __future__ import annotations

import codecs
import hashlib
import io
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from batchexport.errors import JobListError

#: Read at once: large enough that the work per piece does not count, small enough for a processor's cache.
_PIECE_BYTES = 65_536

#: No row is near this long: a longer line is a file of another kind, and would have to be held as a whole.
_LONGEST_LINE_BYTES = 1_048_576

_BOM = codecs.BOM_UTF8
_UTF16_MARKS = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)


class EndlessLineError(Exception):
    """A line is longer than any row, so what follows cannot be parsed. The message says so."""

    def __init__(self) -> None:
        super().__init__(
            f"is longer than {_LONGEST_LINE_BYTES:,} bytes: this is not a row; the rest was not read"
        )


class Source:
    """A job list's bytes as UTF-8, without the byte order mark. Read in one way; `texts` goes on behind
    `lines`.
    """

    def __init__(self, stream: BinaryIO, name: str, encoding: str | None = None) -> None:
        """`encoding` is what the bytes are read as; None = UTF-8, or UTF-16 with a byte order mark."""
        self.name = name
        #: Whether a line that is not UTF-8 went by; its bytes are lone surrogates in the text from then on.
        self.damaged = False
        self._stream = stream
        self._hash = hashlib.sha256()
        self._decoder: codecs.IncrementalDecoder | None = None
        self._encoding = encoding
        self._ahead = self._beginning()
        self._texts = map(self._decoded, self.blocks())
        self._begun = io.StringIO()  # the text whose lines are being read

    @property
    def head(self) -> bytes:
        """The first bytes, up to 64 KiB."""
        return self._ahead

    def rest(self) -> bytes:
        """Everything not read yet."""
        pieces = [self._ahead, *iter(self._piece, b"")]
        self._ahead = b""
        return b"".join(pieces)

    def blocks(self) -> Iterator[bytes]:
        """The bytes in pieces that end where a line ends. Raises EndlessLineError."""
        kept, self._ahead = self._ahead, b""
        while True:
            cut = kept.rfind(b"\n") + 1 or kept[:-1].rfind(b"\r") + 1
            if cut:
                yield kept[:cut]
            elif len(kept) > _LONGEST_LINE_BYTES:
                raise EndlessLineError
            piece = self._piece()
            kept = kept[cut:] + piece
            if not piece:
                break
        if kept:
            yield kept

    def lines(self) -> Iterator[str]:
        """The lines with their ends, of whatever kind. Sets `damaged` before it yields a damaged line."""
        for text in self._texts:
            self._begun = io.StringIO(text, newline="")
            for line in self._begun:  # noqa: UP028 - `yield from` would close it together with this generator
                yield line

    def texts(self) -> Iterator[str]:
        """What `lines` has left, in pieces that end where a line ends. Sets `damaged` as `lines` does."""
        if begun := self._begun.read():
            yield begun
        yield from self._texts

    def sha256(self) -> str:
        """Hash of all the bytes, read to the end for it."""
        while self._piece():
            pass
        return self._hash.hexdigest()

    def _decoded(self, block: bytes) -> str:
        try:
            return block.decode("utf-8")
        except UnicodeDecodeError:
            self.damaged = True
            return block.decode("utf-8", errors="surrogateescape")

    def _beginning(self) -> bytes:
        """The first piece, behind its byte order marks; decides how the bytes are read."""
        piece = self._raw_piece()
        if piece.startswith(_UTF16_MARKS) and not piece.startswith(codecs.BOM_UTF32_LE):
            self._encoding = "utf-16"
        if self._encoding is not None and not piece.startswith(_BOM):
            self._decoder = codecs.getincrementaldecoder(self._encoding)()
            piece = self._as_utf8(piece) or self._piece()
        while piece.startswith(_BOM):  # some tools put theirs before the one that is there
            piece = piece[len(_BOM) :]
        return piece

    def _piece(self) -> bytes:
        piece = self._raw_piece()
        if self._decoder is None:
            return piece
        while not (text := self._as_utf8(piece)) and piece:
            piece = self._raw_piece()
        return text

    def _as_utf8(self, piece: bytes) -> bytes:
        assert self._decoder is not None
        try:
            return self._decoder.decode(piece, final=not piece).encode()
        except UnicodeError as error:
            raise JobListError(
                f"{self.name}: is not {self._encoding}: {error}",
                hint="name the encoding that it was saved in with --encoding, or save it as UTF-8",
            ) from error

    def _raw_piece(self) -> bytes:
        try:
            piece = self._stream.read(_PIECE_BYTES)
        except OSError as error:
            raise _unreadable(self.name, error) from error
        self._hash.update(piece)
        return piece


def name_of(source: str | Path) -> str:
    """How messages call the list: a text that can be printed and kept, whatever bytes its path is made of."""
    return "<stdin>" if str(source) == "-" else os.fsencode(source).decode(errors="replace")


@contextmanager
def opened(source: str | Path, *, stdin: BinaryIO | None, encoding: str | None = None) -> Iterator[Source]:
    """The list's bytes, for as long as the block lasts. Standard input stays open. Raises JobListError."""
    name = name_of(source)
    if str(source) == "-":
        yield Source(sys.stdin.buffer if stdin is None else stdin, name, encoding)
        return
    with _opened_file(Path(source)) as stream:
        yield Source(stream, name, encoding)


def sha256_of(source: str | Path, *, stdin: BinaryIO | None = None) -> str:
    """Hash of a list's bytes in hex, as `JobList.sha256` has it after reading. Raises JobListError."""
    with opened(source, stdin=stdin) as opened_source:
        return opened_source.sha256()


def _opened_file(path: Path) -> BinaryIO:
    try:
        return path.open("rb")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise _unreadable(str(path), error) from error


def _unreadable(name: str, error: OSError | ValueError) -> JobListError:
    if isinstance(error, FileNotFoundError):
        return JobListError(
            f"{name}: no such job list",
            hint="give the path of a CSV, JSON or JSON Lines file, or - for standard input",
        )
    if isinstance(error, IsADirectoryError):
        return JobListError(f"{name}: is a folder, not a job list", hint="give the path of a file in it")
    reason = (error.strerror if isinstance(error, OSError) else None) or str(error)
    return JobListError(
        f"{name}: cannot be read: {reason}", hint="check that the file is yours to read and its disk is well"
    )
