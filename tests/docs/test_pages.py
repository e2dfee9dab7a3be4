"""What the pages name exists: links, headings, files, tests, commands and options."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from batchexport.cli.program import app
from tools.reference import ROOT, pages

PAGES = [*pages(), ROOT / "CHANGELOG.md"]
EVERY_PAGE = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
_LINK = re.compile(r"(?<!\!)\[[^\]]*\]\(([^)\s]+)\)|!\[[^\]]*\]\(([^)\s]+)\)")
_BLOCK = re.compile(r"^```.*?^```", re.DOTALL | re.MULTILINE)
_SHELL = re.compile(r"^```sh\n(.*?)^```", re.DOTALL | re.MULTILINE)
_CODE = re.compile(r"`((?:batchexport|benchmarks|jobs|tests|tools)/[\w/.]*?)(?:::(\w+))?`")


def prose(page: Path) -> str:
    return _BLOCK.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The headings of a page as GitHub names them."""
    found = set()
    for title in re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", title).strip().lower()
        found.add(re.sub(r"[^\w\- ]", "", plain).replace(" ", "-"))
    return found


@EVERY_PAGE
def test_every_link_leads_somewhere(page: Path) -> None:
    broken = []
    for link in (first or second for first, second in _LINK.findall(prose(page))):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        if not target.exists() or (anchor and anchor not in anchors(target)):
            broken.append(link)
    assert broken == []


@EVERY_PAGE
def test_every_file_and_name_that_is_pointed_at_exists(page: Path) -> None:
    missing = []
    for path, name in _CODE.findall(page.read_text(encoding="utf-8")):
        file = ROOT / path
        if not file.exists() or (name and not _defines(file, name)):
            missing.append(f"{path}::{name}" if name else path)
    assert missing == []


def _defines(file: Path, name: str) -> bool:
    definition = re.compile(rf"^\s*(?:(?:async )?def|class) {name}\b|^{name}\b.*=", re.MULTILINE)
    return bool(definition.search(file.read_text(encoding="utf-8")))


def test_the_index_names_every_page() -> None:
    index = ROOT / "docs" / "README.md"
    named = {(index.parent / link[0]).resolve() for link in _LINK.findall(index.read_text(encoding="utf-8"))}
    documents = {path for path in (ROOT / "docs").rglob("*.md") if "decisions" not in path.parts}
    assert documents - named - {index} == set()


@EVERY_PAGE
def test_every_command_line_is_one_that_the_program_takes(page: Path) -> None:
    wrong = [line for line in command_lines(page) if not understood(line)]
    assert wrong == []


def command_lines(page: Path) -> Iterator[str]:
    """The calls of the program in the shell blocks of a page, without what they are piped from and into."""
    for block in _SHELL.findall(page.read_text(encoding="utf-8")):
        for line in block.replace("\\\n", " ").splitlines():
            for part in re.split(r"\||&&|;|\$\(", line):
                if found := re.search(r"(?:^|[\s/])batchexport( .*)", part):
                    yield found[1]


def understood(line: str) -> bool:
    words = shlex.split(line.rstrip(")").rstrip('"') if line.count('"') % 2 else line, comments=True)
    command: click.Command | None = app
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        command = command.get_command(click.Context(command), words.pop(0))
    if command is None:
        return False
    known = {name for option in command.params for name in (*option.opts, *option.secondary_opts)}
    known |= {"-h", "--help", "--version"}
    return all(word.partition("=")[0] in known for word in words if re.match(r"--?[a-z]", word))
