"""Whether a prompt says that anything moves. Words of motion are many, so a miss is worth a hint and no more."""

import re

STEMS = (
    "approach|bend|blink|bloom|blow|bounc|burn|climb|clos|crash|crawl|cross|danc|descend|dive|dolly|drift|drip|driv|drop|"
    "enter|explod|fade|fall|fl[iy]|flow|follow|gallop|glid|grow|jump|kick|laugh|leap|lift|march|melt|mov|nod|open|orbit|"
    "pan|pass|pick|point|pour|pull|push|rac|rain|rais|reach|rid|ris|rock|roll|rotat|run|shak|sing|slid|slow|smil|snow|"
    "speak|spin|splash|spread|step|stretch|swim|swing|sway|talk|throw|tilt|toss|track|travel|trembl|turn|twist|"
    "walk|wav|whirl|zoom"
)
MOTION = re.compile(rf"\b(?:{STEMS})\w*", re.IGNORECASE)


def says_motion(prompt: str) -> bool:
    """Whether the prompt has an English word that names a motion."""
    return MOTION.search(prompt) is not None
