"""What a sample is given beside noise, as data: each kind is a frozen dataclass with `apply(state) -> state`."""
