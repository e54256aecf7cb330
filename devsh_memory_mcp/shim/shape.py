"""Named tuples as JSON and back: camelCase keys, unknown ones ignored, and every value checked for what its field says."""

import types
import typing

Shape = typing.TypeVar("Shape", bound=tuple[typing.Any, ...])  # a named tuple


def to_json(value: tuple[typing.Any, ...]) -> dict[str, typing.Any]:
    """The value as JSON's types, with camelCase keys."""
    return typing.cast("dict[str, typing.Any]", _plain(value))


def _plain(value: object) -> object:
    names = getattr(value, "_fields", None)  # before the test for a tuple, which a shape is too
    if names is not None:
        return {_camel(name): _plain(getattr(value, name)) for name in names}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    return value


def from_json(shape: type[Shape], document: object) -> Shape:
    """`document` as `shape`. ValueError where it is not one; unknown keys are ignored."""
    try:
        return typing.cast("Shape", _shaped(shape, document))
    except (TypeError, KeyError, AttributeError) as error:
        raise ValueError(f"not a {shape.__name__}: {error}") from error


def _shaped(kind: object, value: object) -> object:
    if typing.get_origin(kind) is types.UnionType:
        if value is None:
            return None
        kind = next(option for option in typing.get_args(kind) if option is not types.NoneType)
    if typing.get_origin(kind) is tuple:
        if not isinstance(value, list):
            raise TypeError(f"{value!r} is not a list")
        return tuple(_shaped(typing.get_args(kind)[0], item) for item in value)
    if isinstance(kind, type) and hasattr(kind, "_fields"):
        if not isinstance(value, dict):
            raise TypeError(f"{value!r} is not an object")
        fields = kind.__annotations__
        return kind(**{name: _shaped(fields[name], value[key]) for name in fields if (key := _camel(name)) in value})
    return _checked(kind, value)


def _checked(kind: object, value: object) -> object:
    plain = typing.get_origin(kind) or kind
    accepted = (float, int) if plain is float else plain
    if not isinstance(value, accepted) or (isinstance(value, bool) and plain is not bool):  # type: ignore[arg-type]
        raise TypeError(f"{value!r} is not {kind}")
    return value


def _camel(name: str) -> str:
    head, *tail = name.split("_")
    return head + "".join(word.capitalize() for word in tail)
