"""Words of motion and of stillness in an English prompt, which say that something moves, or that nothing is to move."""

import re

STEMS = (
    "approach|bend|blink|bloom|blow|bounc|burn|climb|clos|crash|crawl|cross|danc|descend|dive|dolly|drift|drip|driv|drop|"
    "enter|explod|fade|fall|fl[iy]|flow|follow|gallop|glid|grow|jump|kick|laugh|leap|lift|march|melt|mov|nod|open|orbit|"
    "pan|pass|pick|point|pour|pull|push|rac|rain|rais|reach|rid|ris|rock|roll|rotat|run|shak|sing|slid|slow|smil|snow|"
    "speak|spin|splash|spread|step|stretch|swim|swing|sway|talk|throw|tilt|toss|track|travel|trembl|turn|twist|"
    "walk|wav|whirl|zoom"
)
MOTION = re.compile(rf"\b(?:{STEMS})\w*", re.IGNORECASE)

STAYS = "stay|stand|sit|lie|lay|lying|hold|keep|hang|rest|remain|stood|sat|held|kept|hung"
NEGATED = r"no|not|never|nothing|without|hardly|barely|n['\u2019]t"
STILL = re.compile(
    rf"\b(?:{STAYS})\w*\s+(?:(?:very|quite|\w+ly)\s+)?(?:still|put|in place|fixed)\b|"
    r"\b(?:is|are|be|being)\s+(?:(?:very|quite|\w+ly)\s+)?still(?!\s+\w+)|"
    r"\bstill(?:ness|s\b|[\s-](?:life|image|photo\w*|pict\w+|frame|shot|scene)\b)|"
    r"\b(?:static|motionless|unmoving|immobile|stationary|frozen|freez\w*)\b|"
    rf"(?:\b|(?<=\w))(?:{NEGATED})\s+(?:\w+\s+)?(?:mov\w*|motion\w*)\b",
    re.IGNORECASE,
)
FRAMING = re.compile(r"\b(?:shot|camera|view|frame|framing|angle|close-?up|image|pict\w+|photo\w*)\b", re.IGNORECASE)
"""Words after which stillness is the camera's, while what it looks at may move."""
CLAUSE = re.compile(r"[,;:.!?\n]|\b(?:while|as|and|but|when|then)\b", re.IGNORECASE)


def says_motion(prompt: str) -> bool:
    """True if the prompt has an English word that names a motion."""
    return MOTION.search(prompt) is not None


def says_still(prompt: str) -> bool:
    """True if the prompt says in English that nothing in it moves: "a square stays still", "a static view of a
    lake". A part of the sentence that names a motion outweighs it: "the camera is static as a man walks"."""
    clauses = CLAUSE.split(prompt)
    return any(map(STILL.search, clauses)) and not any(map(_moves, clauses))


def _moves(clause: str) -> bool:
    """A clause that says what stands still names no motion, unless it speaks of the camera."""
    if not STILL.search(clause):
        return says_motion(clause)
    return FRAMING.search(clause) is not None and says_motion(STILL.sub(" ", clause))
