"""The tables of options and tips, read from the YAML files beside, and how a row takes a value."""

import difflib
from collections.abc import Iterator, Mapping
from copy import deepcopy
from functools import cache, cached_property
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

from flows.simpletuner.draft import PARSERS, Draft, Refused, is_off, is_one_of
from flows.simpletuner.handlers import HANDLERS

FOLDER = Path(__file__).parent
GROUPS_TITLE = "That set nothing here"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""The one in C, where PyYAML has it: a tenth of the time."""

Names = Annotated[tuple[str, ...], BeforeValidator(lambda names: (names,) if isinstance(names, str) else names)]
Words = Annotated[
    dict[str, Any],
    BeforeValidator(lambda words: dict(zip(words, words, strict=True)) if isinstance(words, list) else words),
]


class Row(BaseModel):
    """A row of a table. `options.yaml` says what its fields are."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    does: str
    differs: str = "nothing"
    test: str


class Tip(Row):
    """A feature, a step or a piece of advice of SimpleTuner's guide."""

    what: str


class Condition(BaseModel):
    """Something that an option needs in order to have an effect."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    option: str = ""
    ours: str = ""
    among: tuple[Any, ...] = ()
    warning: str

    def holds(self, draft: Draft) -> bool:
        """True if it is fulfilled by the options of the file and by what was made of them so far."""
        found = draft.get(self.ours) if self.ours else draft.flat.get(self.option)
        return is_one_of(found, self.among) if self.among else not is_off(found)


class Option(Row):
    """An option of SimpleTuner's files; of options inside a section, `key` has a dot."""

    key: str
    needs: tuple[Condition, ...] = ()
    parse: str = "as_it_is"
    to: Names = ()
    words: Words = {}
    sets: dict[bool | str, dict[str, Any]] = {}
    only: tuple[Any, ...] = ()
    otherwise: str = ""
    refused: str = ""
    handler: str = ""
    warning: str = ""
    neutral: tuple[Any, ...] = ()

    @model_validator(mode="before")
    @classmethod
    def _fill(cls, row: dict[str, Any]) -> dict[str, Any]:
        """The parser and the text that follow from the other fields."""
        to = row.get("to", ())
        does = " and ".join(f"`{name}`" for name in ([to] if isinstance(to, str) else to)) + "."
        parse = "as_text" if "words" in row else "flag" if "sets" in row else "text" if to else "as_it_is"
        return {"does": does, "parse": parse} | row

    def take(self, draft: Draft, value: Any) -> None:
        """Take a value of this option into the draft.

        Raises:
            Refused: it has no meaning here; says what is wanted.
        """
        missing = next((condition for condition in self.needs if not condition.holds(draft)), None)
        if missing is not None:
            self._warn(draft, missing.warning, value)
            return
        found = PARSERS[self.parse](value)
        self._refuse(found, value)
        if found is None or (self.sets and found not in self.sets):
            return
        if self.sets:
            for name, ours in self.sets[found].items():
                draft.set(name, deepcopy(ours))
        for name in self.to:
            draft.set(name, self.words[found] if self.words else found)
        if self.handler:
            HANDLERS[self.handler](draft, self.key, found)
        if self.warning:
            self._warn(draft, self.warning.replace("{value}", repr(value)), value)

    def _refuse(self, found: Any, value: Any) -> None:
        if self.only and not is_one_of(found, self.only):
            raise Refused(f"is {value!r}; {self.otherwise}")
        if self.refused and not (is_one_of(found, self.neutral) or is_off(found)):
            raise Refused(f"is {value!r}, which is not done here: {self.refused}")
        words = [*self.words, *self.sets]
        if words and not isinstance(found, bool) and found not in words:
            raise Refused(f"is {value!r}; here there are {', '.join(map(str, words))}")

    def _warn(self, draft: Draft, text: str, value: Any) -> None:
        if not is_one_of(value, self.neutral):
            draft.warn(self.key, text)


class Group(BaseModel):
    """Options that share an answer."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    options: str
    answer: Literal["always", "no effect", "refused"]
    why: str
    neutral: tuple[Any, ...] = ()

    def rows(self, test: str) -> Iterator[Option]:
        """A row for each name."""
        answers: dict[str, dict[str, Any]] = {
            "always": {"does": f"Always so: {self.why}."},
            "no effect": {
                "does": f"A warning: {self.why}.",
                "differs": "It has no effect here.",
                "warning": self.why,
            },
            "refused": {
                "does": "Taken where it is off.",
                "differs": f"Refused where it is on: {self.why}.",
                "refused": self.why,
            },
        }
        for name in self.options.split():
            yield Option(key=name, test=test, neutral=self.neutral, **answers[self.answer])


class Table(BaseModel):
    """The options of one file of SimpleTuner's, in the order in which they are taken."""

    sections: dict[str, tuple[Option, ...]]
    groups: tuple[Group, ...]

    @cached_property
    def options(self) -> dict[str, Option]:
        """Every option by name."""
        return {option.key: option for options in self.sections.values() for option in options}

    def take_all(self, draft: Draft, where: str = "") -> None:
        """Take every option of `draft.flat`, in the table's order; faults are collected after `where`."""
        options = self.options
        draft.faults += [where + unknown(key, options) for key in draft.flat if key not in options]
        for key, option in options.items():
            if key in draft.flat:
                try:
                    option.take(draft, draft.flat[key])
                except Refused as refused:
                    draft.faults.append(f"{where}option {key!r} {refused}")


def unknown(key: str, options: Mapping[str, Option]) -> str:
    """The message about an option that the table does not have, with the nearest name."""
    near = difflib.get_close_matches(key, options, n=1, cutoff=0.6)
    return f"unknown option {key!r}; " + (
        f"did you mean {near[0]!r}?" if near else "docs/guide.md lists those there are"
    )


@cache
def table(name: Literal["options", "datasets"]) -> Table:
    """The table of `config.json` or of `multidatabackend.json`, read when it is first asked for."""
    found = _read(name)
    conditions, tests = found.get("conditions", {}), found["tests"]
    sections = {
        title: tuple(
            Option.model_validate(
                {"key": key, "test": tests["rows"]}
                | row
                | {"needs": [conditions[one] for one in _listed(row.get("needs", []))]}
            )
            for key, row in rows.items()
        )
        for title, rows in found["sections"].items()
    }
    groups = tuple(map(Group.model_validate, found["groups"]))
    sections[GROUPS_TITLE] = tuple(row for group in groups for row in group.rows(tests["groups"]))
    return Table(sections=sections, groups=groups)


@cache
def tips() -> dict[str, tuple[Tip, ...]]:
    """The guide's features, steps and advice, by section."""
    return {title: tuple(map(Tip.model_validate, rows)) for title, rows in _read("tips").items()}


def _listed(names: str | list[str]) -> list[str]:
    return [names] if isinstance(names, str) else names


def _read(name: str) -> dict[str, Any]:
    found: dict[str, Any] = yaml.load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"), Loader=LOADER)
    return found
