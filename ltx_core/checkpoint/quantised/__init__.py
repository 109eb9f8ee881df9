"""Weights as files keep them: plain, or quantised by one of the published schemes, one module for each."""
