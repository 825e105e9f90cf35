"""The registry of loss terms: functions of logits, labels, weights and class weights that give a number per image."""

from collections.abc import Callable
from typing import TypeVar

F = TypeVar("F", bound=Callable)
TERMS: dict[str, Callable] = {}


def term(name: str) -> Callable[[F], F]:
    """Makes a function the loss of that name; it is an objective by itself, too.

    It takes logits [b *space c], labels [b *space], weights [b *space] and class weights [classes] or None, and gives
    the losses [b] of the images.
    """

    def add(function: F) -> F:
        TERMS[name] = function
        return function

    return add
