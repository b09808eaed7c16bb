"""Marshmallow schemas made from types, so that a dataclass or a TypedDict is the only place where a shape is declared.

A line `member: text` in the docstring of a shape describes that member. `Annotated` adds what a type cannot express: a
marshmallow validator checks the value, a schema class replaces the derived schema, and TypedDicts describe an object
that is loaded or passed on unread. `Literal` becomes an enumeration, a union of several shapes becomes AnyOf.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
import types
import typing
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from typing import Annotated, Any, Literal, NotRequired, Union

from marshmallow import EXCLUDE, Schema, fields, validate

from shared.protocol.base import BoundedDict, BoundedList, WireSchema, camel_case

SECTIONS = ("Shape", "Units", "Errors", "Source", "Moves")  # of a docstring; what they say is not about one member
LABEL = re.compile(r"(\w+(?:, \w+)*): +(.*)")
LABEL_IN_LINE = re.compile(r"(.*?\.) (\w+(?:, \w+)*): +(.*)")

PLAIN: dict[object, type[fields.Field[Any]]] = {
    str: fields.Str,
    int: fields.Int,
    bool: fields.Bool,
    float: fields.Float,
}


class AnyOf(fields.Field[object]):
    """A value of one of several shapes. The shapes are documentation: the value is passed on unchecked."""

    def __init__(self, options: Sequence[fields.Field[Any]], **settings: Any) -> None:
        super().__init__(**settings)
        self.options = options


class AllOf(fields.Dict):
    """A JSON object with the members of all given shapes. The shapes are documentation: it is passed on unread."""

    def __init__(self, parts: Sequence[fields.Field[Any]], **settings: Any) -> None:
        super().__init__(**settings)
        self.parts = parts


class Null(fields.Field[None]):
    """A member that is always null; the protocol has it, this server never fills it."""


class TypedDictSchema(Schema):
    """A TypedDict of the protocol: its keys are the names on the wire already."""

    class Meta:
        unknown = EXCLUDE


def variant(*choices: str) -> validate.OneOf:
    """A validator for an enumeration. Its error has the original's words."""
    expected = ", ".join(f"`{choice}`" for choice in choices)
    return validate.OneOf(choices, error=f"unknown variant `{{input}}`, expected one of {expected}")


def schema_of(shape: type, base: type[Schema] = WireSchema) -> type[Schema]:
    """Return the schema of a dataclass or a TypedDict. base: the schema's base class, also of nested dataclasses."""
    return _schema_of(shape, TypedDictSchema if typing.is_typeddict(shape) else base)


@cache
def _schema_of(shape: type, base: type[Schema]) -> type[Schema]:
    about_members = descriptions(shape)
    members = {}
    for name, hint, options in _members(shape):
        if name in about_members:
            options["metadata"] = {"description": about_members[name]}
        members[name] = _field(hint, base, **options)
    about = {"shape": shape, "__doc__": shape.__doc__, "__module__": shape.__module__}
    return type(shape.__name__, (base,), {**members, **about})


def sections(docstring: str | None) -> dict[str, str]:
    """Return a docstring's labelled parts, such as "Errors" or the name of a member; "" is the text before them."""
    found, label = {"": ""}, ""
    for line in LABEL_IN_LINE.sub(r"\1\n\2: \3", inspect.cleandoc(docstring or ""), count=1).splitlines():
        labelled = LABEL.fullmatch(line)
        if labelled:
            label = labelled[1]
            found[label] = labelled[2]
        elif label and not line.startswith(" "):
            label = ""
            found[""] += f"\n\n{line}"
        else:
            found[label] += f"\n{line.strip()}"
    return {label: text.strip() for label, text in found.items()}


def descriptions(shape: type) -> dict[str, str]:
    """Return the descriptions of members in the docstrings of a shape and of its bases."""
    found: dict[str, str] = {}
    for kind in reversed(shape.__mro__[:-1]):
        for label, text in sections(kind.__doc__).items():
            if label and label not in SECTIONS:
                about = " ".join(text.split()).replace("None", "null")
                found |= dict.fromkeys(label.split(", "), about)
    return found


@cache
def _wire_names(shape: type) -> tuple[tuple[str, str], ...]:
    return tuple((member.name, camel_case(member.name)) for member in dataclasses.fields(shape))


def to_wire(result: Any) -> dict[str, Any]:
    """Return a Result as a JSON object.

    The members are JSON already, or such a dataclass: only names are translated, whatever the size of the result.
    """
    made = {wire: getattr(result, name) for name, wire in _wire_names(result.__class__)}
    return {name: to_wire(value) if dataclasses.is_dataclass(value) else value for name, value in made.items()}


def _members(shape: type) -> Iterator[tuple[str, Any, dict[str, Any]]]:
    """Yield each member's name, its type and the options of its field."""
    hints = typing.get_type_hints(shape, include_extras=True)
    if typing.is_typeddict(shape):
        for name, hint in hints.items():  # keys of a class with total=False are NotRequired in this project
            optional = typing.get_origin(hint) is NotRequired
            yield name, typing.get_args(hint)[0] if optional else hint, {"required": not optional}
        return
    for member in dataclasses.fields(shape):
        default = member.default
        if member.default_factory is not dataclasses.MISSING:
            default = member.default_factory()
        if default is dataclasses.MISSING:
            yield member.name, hints[member.name], {"required": True}
        elif default is None:
            yield member.name, hints[member.name], {}
        else:
            yield member.name, hints[member.name], {"load_default": default}


def _field(hint: Any, base: type[Schema], **options: Any) -> fields.Field[Any]:
    """Return the field of a type."""
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        return _annotated(inner[0], inner[1:], base, options)
    if origin in (Union, types.UnionType):
        kinds = [kind for kind in inner if kind is not types.NoneType]
        if len(kinds) < len(inner):
            options["allow_none"] = True
        return _field(kinds[0], base, **options) if len(kinds) == 1 else _any_of(kinds, base, options)
    if origin is Literal:
        return fields.Str(validate=variant(*inner), **options)
    if origin in (list, Sequence):
        return BoundedList(_field(inner[0], base), **options)
    if origin in (dict, Mapping):
        values = None if inner[1] in (object, Any) else _field(inner[1], base)
        return BoundedDict(keys=_field(inner[0], base), values=values, **options)
    if dataclasses.is_dataclass(hint) or typing.is_typeddict(hint):
        return fields.Nested(schema_of(hint, base), **options)
    if hint is types.NoneType:
        return Null(allow_none=True, **options)
    plain: type[fields.Field[Any]] | None = PLAIN.get(hint)
    if plain is not None:
        return plain(**options)
    return fields.Raw(**{"allow_none": True, **options})


def _any_of(kinds: Sequence[Any], base: type[Schema], options: dict[str, Any]) -> AnyOf:
    return AnyOf([_field(kind, base) for kind in kinds], **options)


def _annotated(hint: Any, notes: Sequence[Any], base: type[Schema], options: dict[str, Any]) -> fields.Field[Any]:
    """Return the field of an Annotated type."""
    shapes = [note for note in notes if isinstance(note, types.UnionType) or typing.is_typeddict(note)]
    if shapes:
        return AllOf([_field(shape, base) for shape in shapes], **options)
    for note in notes:
        if isinstance(note, type) and issubclass(note, Schema):
            return fields.Nested(note, **options)
        else:
            options["validate"] = [*options.get("validate", []), note]
    return _field(hint, base, **options)
