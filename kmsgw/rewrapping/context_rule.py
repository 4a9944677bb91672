"""Which encryption context each row has: fixed pairs, templates over the row's fields, fields as they are."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from string import Formatter
from typing import TypeAlias
from uuid import UUID

from kmsgw.errors import ConfigurationError, InvalidRequest
from kmsgw.model.context import EncryptionContext
from kmsgw.rewrapping.rows import RowFault, context_fault

FieldValue: TypeAlias = object
"""A field as its source has it. Text, whole numbers and UUIDs have one text form; others are refused."""


@dataclass(frozen=True, slots=True)
class _Piece:
    """Literal text, then a field's value; no field where ``name`` is empty."""

    text: str
    name: str


class ContextRule:
    """Makes each row's context. `texts` are KEY to template; ``{name}`` is a field, ``{{`` and ``}}`` are braces.

    Raises `ConfigurationError` on a template that is malformed, and on a key that is given twice.
    """

    def __init__(self, fixed: Sequence[tuple[str, str]] = (), texts: Sequence[tuple[str, str]] = ()) -> None:
        self._fixed = tuple(fixed)
        self._templates = tuple((key, _pieces(key, text)) for key, text in texts)
        keys = [key for key, _ in (*self._fixed, *self._templates)]
        if len(set(keys)) != len(keys):
            raise ConfigurationError(["the context has a key twice"], advice="Give each key once.")
        self.fields = tuple(
            dict.fromkeys(piece.name for _, pieces in self._templates for piece in pieces if piece.name)
        )
        # A context that is the same for all rows is checked and encoded once.
        self._constant = None if self.fields else EncryptionContext.of_pairs(self._pairs({}))

    def context(self, fields: Mapping[str, FieldValue]) -> EncryptionContext | RowFault:
        """Return a row's context, or why there is none."""
        if self._constant is not None:
            return self._constant
        try:
            return EncryptionContext.of_pairs(self._pairs(fields))
        except _Unusable as error:
            return context_fault(str(error))
        except InvalidRequest as error:
            return RowFault.of(error)

    def digest(self) -> str:
        """Return what identifies the rule. A digest, because a context's values belong into no file of ours."""
        rules = (*((key, (_Piece(text, ""),)) for key, text in self._fixed), *self._templates)
        whole = sorted([key, "".join(_escaped(piece) for piece in pieces)] for key, pieces in rules)
        return sha256(json.dumps(whole).encode()).hexdigest()

    def _pairs(self, fields: Mapping[str, FieldValue]) -> list[tuple[str, str]]:
        made = [(key, "".join(_filled(piece, fields) for piece in pieces)) for key, pieces in self._templates]
        return [*self._fixed, *made]


def field_template(name: str) -> str:
    """Return the template of one field as it is."""
    return "{" + name + "}"


class _Unusable(Exception):
    """A field that has no text form."""


def _filled(piece: _Piece, fields: Mapping[str, FieldValue]) -> str:
    if not piece.name:
        return piece.text
    value = fields.get(piece.name)
    if value is None:
        raise _Unusable(f"The context wants the field {piece.name}, which the row does not have.")
    if isinstance(value, bool) or not isinstance(value, str | int | UUID):
        raise _Unusable(f"The context wants the field {piece.name}, which is neither text nor a whole number.")
    return piece.text + str(value)


def _escaped(piece: _Piece) -> str:
    text = piece.text.replace("{", "{{").replace("}", "}}")
    return text + (field_template(piece.name) if piece.name else "")


def _pieces(key: str, template: str) -> tuple[_Piece, ...]:
    try:
        parsed = [(text, name, spec, conversion) for text, name, spec, conversion in Formatter().parse(template)]
    except ValueError:
        parsed = [("", "", "", None)]
    # Of format strings only plain names are meant: an attribute or an index would reach into what a field is.
    if any(name is not None and (not name or spec or conversion) for _, name, spec, conversion in parsed):
        raise ConfigurationError(
            [f"the context {key}: {template!r} is no template"],
            advice="Write a field as {name}, and a brace as {{ or }}.",
        )
    return tuple(_Piece(text, name or "") for text, name, _, _ in parsed)
