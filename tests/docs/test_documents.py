"""Every page: its links lead somewhere, and the commands and files that it names are there."""

import re
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from node.cli.main import main as phalanx

ROOT = Path(__file__).parents[2]
PAGES = sorted((*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("bench/*.md")))
PLANS = {ROOT / "docs" / "design.md"}  # says what will be as well
PRESENT = [page for page in PAGES if page not in PLANS]
TARGETS = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
BLOCK = re.compile(r"^```\w*\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\((?!https?:)([^)#\s]*)(?:#([^)\s]+))?\)")
PLACES = (ROOT, ROOT / "consensus")  # that names of files begin at
FILE = re.compile(r"`([a-z_]+/[\w./-]+)`")


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT))


def anchors(page: Path) -> set[str]:
    """What a link may name on a page, as GitHub makes it of headings."""
    headings = re.findall(r"^#+ (.*)", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in headings}


def typed(page: Path, program: str) -> Iterator[str]:
    """What comes after `program` in the page's code blocks, line by line, and between its backticks."""
    text = page.read_text()
    for block in BLOCK.findall(text):
        yield from re.findall(rf"^\s*{program} ([^#\n]+)", block, re.MULTILINE)
    for quoted in re.findall(rf"`{program} ([^`]+)`", BLOCK.sub("", text)):
        yield " ".join(quoted.split())


def resolved(command: click.Command, words: list[str]) -> Iterator[tuple[click.Command, list[str]]]:
    """The commands that words name, with the words that are left; `a|b` are two, … is any."""
    if not (isinstance(command, click.Group) and words) or words[0].startswith("-"):
        yield command, words
    elif words[0] != "…":
        for name in words[0].split("|"):
            found = command.get_command(click.Context(command), name)
            assert found is not None, name
            yield from resolved(found, words[1:])


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_links_lead_somewhere(page: Path) -> None:
    for target, anchor in LINK.findall(page.read_text()):
        there = page.parent / target if target else page
        assert there.exists(), target
        assert not anchor or anchor in anchors(there), f"{target}#{anchor}"


@pytest.mark.parametrize("page", PRESENT, ids=name_of)
def test_commands_and_options_exist(page: Path) -> None:
    for line in typed(page, "phalanx"):
        for command, words in resolved(phalanx, line.split()):
            options = {option for parameter in command.params for option in parameter.opts} | {"--help"}
            for word in words:
                assert not word.startswith("--") or word.split("=")[0] in options, line
    for line in typed(page, "make"):
        assert line.split()[0] in TARGETS, line


@pytest.mark.parametrize("page", PRESENT, ids=name_of)
def test_files_that_are_named_are_there(page: Path) -> None:
    for name in FILE.findall(page.read_text()):
        places = [place for place in PLACES if (place / name.split("/")[0]).is_dir()]
        ends = ("", ".py")
        assert not places or any((place / f"{name}{end}").exists() for place in places for end in ends), name


def test_something_is_looked_at() -> None:
    """A changed way to write commands or names must not empty the tests above."""
    assert sum(len(LINK.findall(page.read_text())) for page in PAGES) > 40
    assert sum(len(list(typed(page, "phalanx"))) for page in PRESENT) > 100
    assert sum(len(FILE.findall(page.read_text())) for page in PRESENT) > 40
