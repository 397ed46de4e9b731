"""How types and shapes are checked while tests run: every argument and every result but those of constructors."""

from collections.abc import Callable

from beartype import BeartypeConf, beartype

_check = beartype(conf=BeartypeConf(is_pep484_tower=True))  # whole numbers are numbers


def checked(function: Callable) -> Callable:
    """Constructors convert what they are given, and refuse what they cannot with a message for users."""
    return function if function.__name__ == "__init__" else _check(function)
