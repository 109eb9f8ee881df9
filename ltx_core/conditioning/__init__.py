"""Conditionings of a sample, as data: each kind is a frozen dataclass with `apply(state) -> state`."""
