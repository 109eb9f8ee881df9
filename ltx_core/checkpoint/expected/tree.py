"""Shapes of a module's tensors as a tree of dotted names, put together from layers."""

from collections.abc import Iterator, Mapping
from dataclasses import fields
from typing import Any, TypeVar, Union

Shape = tuple[int, ...]
Tree = Mapping[str, Union[Shape, "Tree"]]
"""By name: a tensor's shape, or what a module holds. A name may have dots; an empty module has no tensor."""


Sizes = TypeVar("Sizes")


def known(kind: type[Sizes], arguments: Mapping[str, Any]) -> Sizes:
    """Those of a class's arguments that decide shapes; others are left out, and what is left out has its default."""
    names = {field.name for field in fields(kind)}  # type: ignore[arg-type] # dataclasses, which no type says
    return kind(**{name: value for name, value in arguments.items() if name in names})


def linear(inputs: int, outputs: int, *, bias: bool = True) -> Tree:
    """A linear layer: weight [outputs, inputs]."""
    return {"weight": (outputs, inputs)} | ({"bias": (outputs,)} if bias else {})


def convolution(inputs: int, outputs: int, *kernel: int, bias: bool = True) -> Tree:
    """A convolution: weight [outputs, inputs, *kernel]."""
    return {"weight": (outputs, inputs, *kernel)} | ({"bias": (outputs,)} if bias else {})


def affine(width: int) -> Tree:
    """A norm with a scale and a shift."""
    return {"weight": (width,), "bias": (width,)}


def scale(width: int) -> Tree:
    """A norm with a scale alone."""
    return {"weight": (width,)}


def numbered(*modules: Tree) -> Tree:
    """A list of modules, named by their places."""
    return {str(place): module for place, module in enumerate(modules)}


def flat(tree: Tree) -> dict[str, Shape]:
    """Every tensor's shape by its whole name."""
    return dict(_tensors("", tree))


def _tensors(prefix: str, tree: Tree) -> Iterator[tuple[str, Shape]]:
    for name, found in tree.items():
        if isinstance(found, tuple):
            yield prefix + name, found
        else:
            yield from _tensors(f"{prefix}{name}.", found)
