"""A whole LTX-2 in miniature: checkpoint, text encoder and footage that a laptop makes in seconds and trains in minutes.

For tests, for the first run of someone who has no weights yet, and to try a change without a GPU. The weights are random:
what comes out of them looks and sounds like texture, but every tensor name, header key, shape rule and file kind is that
of the released model, so that what works here works there.
"""
