"""Parts of the program that several stages compute with, and their versions. The one place to look before a release.

Results are kept by what they were made of, and the program is a part of that. Its part is one version for each stage:
the stage's own, which stands in its declaration (`version=` in `STAGE`), and those of the subjects that it declares.
Both enter the stage's identity and the keys of its items, so that a raise makes the stage run again and compute every
item anew, and the plan says why.

To raise one: when a change makes the same input give another result, add one to the subject here if several stages
compute with what you changed, else to `version` in that stage's `STAGE`. Once a release is enough. Nothing else refers
to the number. Raise nothing for a change that leaves results as they are, such as a faster way or a clearer message.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Subject:
    """A part of the program that more than one stage's results depend on."""

    name: str
    """As messages call it."""
    version: int
    """From 1 on, and only ever raised."""


DECODING = Subject("decoding", 3)
"""Files of footage, sounds, masks and pictures to frames, samples and times: ltx_core/media."""
AUTOENCODERS = Subject("autoencoders", 1)
"""Frames and sound to latents and back: ltx_core/autoencoder."""
TRANSFORMER = Subject("transformer", 2)
"""A step of the denoiser with its text contexts, in every precision: ltx_core/denoiser, ltx_core/engine. Kept 8-bit
weights carry it too."""
SUBJECTS = (DECODING, AUTOENCODERS, TRANSFORMER)
