"""The rows of benchmarks/engine_table.py: what is measured of each precision, in which order."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Optimizer = Literal["adamw", "adamw_bf16"]
LONG = "121"
"""512x768x121, where whole blocks are dear to compute again, so parts of them are."""
WAYS = {
    76.0: ((0.99, 0.0),),
    46.0: ((0.99, 0.25),),
    30.0: ((0.3, 0.25),),
    48.0: ((0.2, 0.25),),
    27.8: ((0.05, 0.25),),
}
"""Of the long shapes, by limit: an activation budget, and the GiB of each block that wait on the host. Ways that
benchmarks/activations.py lets hope for; only a GPU says which is faster (docs/dev/LOG.md has the slower ones)."""
KEPT_ON_A_16_GIB_CARD = 12


@dataclass(frozen=True)
class Row:
    """One cell of the table, or one way to it: the fastest way that stays under the limit counts."""

    name: str
    shape: str
    limit_gib: float
    streamed: int = 0
    recompute: float | None = None
    """None: as few blocks as the memory plan thinks fit the limit."""
    budget: float = 1.0
    offload: float = 0.0
    """GiB of each block that keeps activations."""
    optimizer: Optimizer = "adamw"

    @property
    def kind(self) -> str:
        """What is compiled for it, and what it does beside computing, as `engine_table.py --kind` takes it."""
        return f"{self.shape},{self.budget},{self.offload},{self.optimizer}"

    @classmethod
    def of_kind(cls, kind: str) -> "Row":
        """A row that compiles what this kind does."""
        shape, budget, offload, optimizer = kind.split(",")
        return cls("kind", shape, 0, recompute=0.0, budget=float(budget), offload=float(offload), optimizer=optimizer)  # type: ignore[arg-type]


def rows(precision: str, blocks: int, generation: str) -> Iterator[Row]:
    """In an order in which weights only ever go to the host, and the LoRA goes to bf16 once."""
    if generation != "2.0":
        yield from _of_the_larger_model(precision)
        return
    resident = [("bf16 resident, fits 80 GB", 76.0)]
    if precision != "native":
        resident = [("8 bits resident, fits 48 GB", 46.0), ("8 bits resident, fits 32 GB", 30.0)]
    for shape in ("17", LONG):
        for name, limit in resident:
            yield from _resident(name, shape, limit)
    if precision != "native":
        streamed = max(1, blocks - KEPT_ON_A_16_GIB_CARD)
        for shape, limit in ((LONG, 14.0), ("17", 12.0)):
            yield Row("8 bits streamed, fits 16 GB", shape, limit, streamed, 1.0)
    for shape, limit in (("17", 7.0), (LONG, 9.5)):
        if precision == "native":  # twice as large in the slots: 7 GiB do not hold float32 moments too, but one block
            yield Row("bf16 streamed", shape, limit, max(1, blocks - 1), 1.0, optimizer="adamw_bf16")
        else:
            yield Row("8 bits streamed, fits 12 GB", shape, limit, blocks, 1.0)


def _of_the_larger_model(precision: str) -> Iterator[Row]:
    """LTX-2.3 at 1280x704x49, beside what is published for one H100: bf16 3.99 s in 48.0 GiB, int8 7.75 s in 27.8."""
    if precision == "native":
        yield from _resident("bf16 resident, fits 80 GB", "49", 76.0)
        yield from _resident("bf16 resident, 48.0 GiB as published", "49", 48.0)
    else:
        yield from _resident("8 bits resident, fits 48 GB", "49", 46.0)
        yield from _resident("8 bits resident, 27.8 GiB as published", "49", 27.8)


def _resident(name: str, shape: str, limit: float) -> Iterator[Row]:
    """At long shapes parts of the blocks are computed again, and as many whole ones as it still takes."""
    if shape == "17":
        yield Row(name, shape, limit)
        return
    for budget, offload in WAYS[limit]:
        yield Row(name, shape, limit, budget=budget, offload=offload)
