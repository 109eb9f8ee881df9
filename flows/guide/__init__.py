"""Files of SimpleTuner's LTX-2 quickstart, read as they are: each of their options, and what it is here."""
