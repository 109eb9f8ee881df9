"""Options that share an answer: what they ask for is always so, has no effect here, or is refused where it is on."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flows.guide.option import Draft, Option, Refused
from flows.guide.take import OFF, accepted, told

HELD = "tests/unit/guide/test_groups.py::test_each_option_of_a_group_gets_its_answer"
FORMS_OF_OFF = OFF | {"off", "disabled", "no_change", "default", "{}", "[]"}


@dataclass(frozen=True, kw_only=True)
class Group:
    """Options of SimpleTuner that get the same answer.

    Attributes:
        names: The options.
        answer: `always`: what they ask for is done anyway, so nothing is said. `no effect`: accepted, and `why` is
            told. `refused`: accepted where they are off or at a value of `neutral`, refused elsewhere.
        why: For `always`, how it is done here; for `no effect`, why it has none; for `refused`, what to do instead.
        neutral: Values that ask for nothing special, mostly the defaults of the guide's program.
    """

    names: str
    answer: str
    why: str
    neutral: tuple[Any, ...] = ()

    def options(self) -> tuple[Option, ...]:
        """A row for each name."""
        take: Callable[[Draft, str, Any], None]
        take, does, differs = {
            "always": (accepted, f"Always so: {self.why}.", "nothing"),
            "no effect": (told(self.why, unless=self._spellings()), f"A notice: {self.why}.", "It has no effect here."),
            "refused": (self._refuse, "Taken where it is off.", f"Refused where it is on: {self.why}."),
        }[self.answer]
        return tuple(Option(key=name, take=take, does=does, differs=differs, test=HELD) for name in self.names.split())

    def is_neutral(self, value: Any) -> bool:
        """Whether a value asks for nothing special."""
        return value in self._spellings() or (not isinstance(value, list | dict) and is_off(value)) or value in ([], {})

    def _refuse(self, _draft: Draft, _key: str, value: Any) -> None:
        if not self.is_neutral(value):
            raise Refused(f"is {value!r}, which is not done here: {self.why}")

    def _spellings(self) -> tuple[Any, ...]:
        """Neutral values, also as text."""
        return (*self.neutral, *(str(value) for value in self.neutral), *(str(v).lower() for v in self.neutral))


def is_off(value: Any) -> bool:
    """Whether a value switches something off: false, zero, nothing, and the words for them."""
    return value is None or str(value).strip().lower() in FORMS_OF_OFF or value in (0, 0.0)


def rows(groups: tuple[Group, ...]) -> tuple[Option, ...]:
    """The rows of all groups."""
    return tuple(option for group in groups for option in group.options())
