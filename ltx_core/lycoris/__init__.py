"""Adapters of the LyCORIS family (LoCon, LoHa, LoKr, each with or without DoRA) on the transformer's linear layers."""
