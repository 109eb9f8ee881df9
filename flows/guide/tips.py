"""What the guide says beside its options: features, steps and advice, and what each is here."""

from flows.guide.method_tips import METHODS
from flows.guide.option import Tip
from flows.guide.step_tips import STEPS

TIPS: dict[str, tuple[Tip, ...]] = STEPS | METHODS
