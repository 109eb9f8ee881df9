"""The words that docs/glossary.md replaces do not come back: not in the docs, and ever less in the product's source.

The source still has many of them. `REMAINING` is how many at most; a change may lower a number and never raise it.
"""

import re
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.repo.source import ROOT, SOURCES, tracked_files

GLOSSARY = ROOT / "docs" / "glossary.md"
OPTIONS_AND_COLUMNS = (
    r"serialization_alias=\"\w+\"|\bsound_(?:key|path)|\b(?:has|absent)_sound\b|\bgiven_(?:file|start_seconds)|/share\b"
    r"|data/wait_share"
)
"""Earlier names of options, names of stored columns and metrics, and names that enter keys: no use of a word."""
OF_DATA = frozenset({"docs/benchmarks.md", "docs/chaos.md", "docs/dev/LOG.md"})
"""Pages that are made from stored results, whose rows keep the names they were measured under; and the log, which is
not rewritten."""
OF_SOURCE = frozenset({"docs/commands.md", "docs/config.md", "docs/guide.md", "docs/stages.md"})
"""Pages that are made from strings of the product: the words are counted there."""


class Word(NamedTuple):
    """A word that is not used, and where it is right."""

    pattern: str
    right: str = r"(?!)"
    """Uses that have another meaning, taken out before counting."""


WORDS = {
    # a text that enters keys
    "visit": Word(r"(?i)\bvisit(?:s|ed|ing)?\b", r"\"visit\""),
    # told apart, told from: distinguished
    "told": Word(r"(?i)\btold\b", r"(?i)\btold (?:apart|from)\b"),
    # the verb
    "notice": Word(r"(?i)\bnotices?\b", r"(?i)\b(?:not|to) notice\b"),
    # tokens that a TREAD route sets aside
    "set aside": Word(r"(?i)\bset(?:s|ting)?(?: \w+){0,3} aside\b", r"(?i)\bsets? [^.]{0,30}tokens aside\b"),
    "picture": Word(r"(?i)\bpictures?\b"),
    # of the tiny model's world, such as a bell; the kind of file beside footage, as keys and columns have it
    "sound": Word(
        r"(?i)\bsound(?:s|less)?\b",
        r"(?i)\b(?:synthetic|scenes and|few|the|four) sounds\b|\btiny\.sounds\b|\bsounds\.AUDIO BY NAME"
        r"|\"sound\"|\b(?:a|every) sound (?:is float32|that it has never heard|by its name)",
    ),
    "streamed blocks": Word(r"(?i)\bstreamed\b"),
    # files that are read piece by piece
    "streaming": Word(r"(?i)\bstreaming\b", r"(?i)\bstreaming reader\b"),
    "recomputed blocks": Word(r"(?i)\brecomputed (?:whole )?blocks?\b"),
    "computed again": Word(r"(?i)\bcomputed again\b"),
    "lane": Word(r"(?i)\blanes?\b"),
    "tap": Word(r"(?i)\btap(?:s|ped)?\b"),
    # the class; "way" is a word like any other
    "Way": Word(r"\bWay(?=[(\[\],:)|])"),
    "Travel": Word(r"\bTravel\b"),
    # "is given" says what a function takes; the noun and the attribute are meant
    "given": Word(
        r"(?i)\bgiven (?:tokens?|frames?|latents?|places?|pictures?|sounds?|images?|audio|clean)\b|\.given\b|\bgiven:"
        r"|\b(?:what|tokens|audio|sound|picture|frame|places) (?:that )?(?:is|are) (?:not )?given\b|\bgiving\("
    ),
    # "is known" says what is certain; tokens and streams are meant
    "known": Word(
        r"(?i)\b(?:tokens|latents?|streams?|places) (?:that )?(?:is|are) known\b|\bnothing known\b"
        r"|\bknown (?:tokens?|latents?|places?)\b"
    ),
    "by chance": Word(r"(?i)\bby chance\b"),
    # the folder on disk; thread pools, Prefect's work pool, CUDA graphs' pools, layers that pool
    "pool": Word(
        r"(?i)\bpools?\b",
        r"(?i)\bpool/|[\"`]pool[\"`]|\bpool\.json|\b(?:thread|process|work) ?pool|--pool|connectionpool|\bpool=",
    ),
    # the verb stays
    "share": Word(
        r"\b(?i:an?|the|this|its|their|own|larger|smaller|these|\w+'s) shares?\b|\bshares? of\b|\bdef share\b"
        r"|\b(?i:loss|rollout|wait|video|audio|crepa|flagged|interlaced|regular|check) (?i:shares?)\b|\bshares? [=<>]"
        r"|\bShare\b",
        # of an address of MLflow's
        r"\bview State Share Key\b",
    ),
    "would | because": Word(r"\"would\", \"because\"|\bwould \| because\b"),
    "Run": Word(r"\bclass Run\b", r"\bclass Run Config\b"),
    "What": Word(r"\"\"\"What\b"),
    "Whether": Word(r"\"\"\"Whether\b"),
    "Which": Word(r"\"\"\"Which\b"),
    "How": Word(r"\"\"\"How\b"),
}

REMAINING: dict[str, int] = {
    "told": 8,
    "set aside": 1,
    "picture": 12,
    "sound": 29,
    "streaming": 1,
    "given": 35,
    "known": 3,
    "pool": 9,
    "share": 14,
    "Run": 1,
}
"""Occurrences in the source, at most. Lower a number when you remove some; a word that is not here has none."""


def replaced_words() -> set[str]:
    """The words of the glossary's lines "Not: ...", without the meaning in parentheses."""
    lines = re.findall(r"^Not: (.+)$", GLOSSARY.read_text(), re.M)
    return {word.strip() for line in lines for word in re.sub(r"\([^)]*\)", "", line).split(",")}


def count(word: Word, text: str) -> int:
    return len(re.findall(word.pattern, re.sub(word.right, "", text)))


def plain(text: str) -> str:
    """One line, with the words of names apart, so that a pattern finds `num_visits` and `FirstVisit` too."""
    text = re.sub(r"(?<=[a-z0-9])(?=[A-Z])|_", " ", re.sub(OPTIONS_AND_COLUMNS, "", text))
    return " ".join(text.split())


@cache
def source() -> str:
    """The product, comments and all, but for its imports: those name again what is counted where it is defined."""
    texts = [(ROOT / path).read_text() for path in SOURCES]
    without = [re.sub(r"^(?:from|import) [^(\n]*(?:\([^)]*\))?$", "", text, flags=re.M) for text in texts]
    return plain(" ".join(re.sub(r"\"\s*\n\s*f?\"", "", text) for text in without))


def prose(page: Path) -> str:
    """A page without code spans, names of options in configurations, and the words that the glossary replaces."""
    text = (ROOT / page).read_text()
    return plain(re.sub(r"^Not: .*$|`[^`\n]+`|^ *(?:- )?\w+:|\]\([^)]*\)", "", text, flags=re.M))


def pages() -> list[Path]:
    left_out = OF_DATA | OF_SOURCE
    return [path for path in tracked_files() if path.suffix == ".md" and path.as_posix() not in left_out]


def test_the_glossary_and_the_patterns_are_of_the_same_words() -> None:
    assert replaced_words() == WORDS.keys()


def test_pages_are_written_with_the_words_of_the_glossary() -> None:
    wrong = [
        f"{page}: {name} ({number})"
        for page in pages()
        for name, word in WORDS.items()
        if (number := count(word, prose(page)))
    ]
    assert not wrong, "docs/glossary.md has the word that is used instead"


@pytest.mark.parametrize("name", WORDS)
def test_replaced_words_become_fewer_in_the_source(name: str) -> None:
    found = count(WORDS[name], source())
    assert found <= REMAINING.get(name, 0), f"{name!r} is replaced by another word in docs/glossary.md; use that"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("visit", "num_visits: int"),
        ("visit", "class FirstVisit:"),
        ("told", "the user is told"),
        ("set aside", "Quarantined files were\n    set aside."),
        ("picture", "`crop`: where the picture is cut"),
        ("sound", "soundless clips"),
        ("pool", "what the pool\nlacks"),
        ("share", "its share of the batches"),
        ("given", "x.given[0]"),
        ("known", "tokens that are known stay"),
        ("What", '    """What a stage is."""'),
    ],
)
def test_a_pattern_finds_its_word(name: str, text: str) -> None:
    assert count(WORDS[name], plain(text)) == 1


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("told", "told apart by their size"),
        ("set aside", "a route sets fewer tokens aside"),
        ("sound", "media.sound_path"),
        ("pool", 'root / "pool"; ThreadPoolExecutor(4)'),
        ("share", "stages that share a GPU"),
        ("given", "the path that is given"),
        ("known", "files are known by content"),
        ("What", "what a stage is"),
    ],
)
def test_right_uses_are_not_counted(name: str, text: str) -> None:
    assert count(WORDS[name], plain(text)) == 0
