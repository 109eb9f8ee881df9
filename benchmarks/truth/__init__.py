"""Experiments on the tiny trained LTX-2: claims of the documentation, measured by trainings with controls."""
