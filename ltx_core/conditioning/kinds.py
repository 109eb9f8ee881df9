"""Every kind of conditioning. To add one: a file with a frozen dataclass that has `apply`, and a name here."""

from ltx_core.conditioning.first_frame import FirstFrame
from ltx_core.conditioning.mask import Mask
from ltx_core.conditioning.prefix import Prefix
from ltx_core.conditioning.sound import Sound
from ltx_core.conditioning.text import Text

Conditioning = Text | FirstFrame | Prefix | Mask | Sound

MODES: dict[str, tuple[type, ...]] = {
    "t2v": (),
    "i2v": (FirstFrame,),
    "s2v": (Sound,),
    "extend": (Prefix,),
    "inpaint": (Mask,),
}
"""What each mode is given beside its text."""
