"""SimpleTuner's files for LTX-2, read as they are.

What each of their options is here stands in `options.yaml` and `datasets.yaml`, and what its guide says beside them in
`tips.yaml`. To add an option, write a row there; the head of `options.yaml` says what a row may have.
"""
