"""A whole LTX-2 in miniature: checkpoint, text encoder and footage, made in seconds and trained in minutes on a laptop.

For tests, for the first run of someone who has no weights yet, and to try a change without a GPU. The weights are
random: what comes out of them looks and sounds like texture. But every tensor name, header key, shape rule and file
kind is that of the released model, so that what works here works there.

`write.write_miniature` writes all of it; `corpus.DECLARED` says what every media file holds. Drawing, playing and
muxing need no torch.
"""
