"""The arguments with which a model passes bodies to a consumer tool, and which parameters of a function are bodies."""

from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from broker_plane.errors import ConfigError, MergeError
from broker_plane.tabular.merge import merge, parse_abstract, parse_mapping
from broker_plane.tools.arguments import ABSTRACT_DATA, BODY_DATA, COLUMN_MAPPING, RESOURCE_URL
from broker_plane.tools.body_forms import BodyForm, form_of
from broker_plane.tools.signature import keyword
from broker_plane.wire.names import ROW_ID

ARGUMENTS = {
    "abstract_data": ABSTRACT_DATA,
    "resource_url": RESOURCE_URL,
    "body_data": BODY_DATA,
    "column_mapping": COLUMN_MAPPING,
}
"""Of each body, with their annotations: the names of S2SP."""


@dataclass(frozen=True)
class GivenBody:
    """What a model passed for one body. `prefix` is that of the argument names: `orders_` for one body of several."""

    prefix: str
    abstract_data: str
    resource_url: str
    body_data: str
    column_mapping: str

    @property
    def is_missing(self) -> bool:
        return not self.resource_url and not self.body_data

    @cached_property
    def mapping(self) -> dict[str, str]:
        """Raises MappingError."""
        return parse_mapping(self.column_mapping)

    @cached_property
    def abstract(self) -> list[dict[str, Any]] | None:
        """The chosen rows, which are parsed once; None for every row. Raises MergeError."""
        return parse_abstract(self.abstract_data, f"{self.prefix}abstract_data") if self.abstract_data.strip() else None

    def check_one_source(self) -> None:
        """Raise MergeError unless the body comes either from a URL or through the model."""
        url, data = f"{self.prefix}resource_url", f"{self.prefix}body_data"
        if self.resource_url and self.body_data:
            raise MergeError(f"Pass {url} (async) or {data} (sync), not both")
        if self.is_missing:
            raise MergeError(f"Pass the {url} that the resource tool gave (or {data}, in sync mode)")

    def check_only_url(self, tool: str) -> None:
        """Raise MergeError unless there is a URL, and nothing that selects from it or changes it."""
        if not self.resource_url:
            raise MergeError(f"{tool} takes a whole body: pass its {self.prefix}resource_url")
        if self.abstract_data.strip() or self.body_data.strip() or self.column_mapping.strip():
            raise MergeError(f"{tool} takes a whole body: pass the {self.prefix}resource_url alone")

    def inline_rows(self) -> list[dict[str, Any]]:
        """The rows of sync mode: abstract and body came through the model, each row with its `_row_id`."""
        body = parse_abstract(self.body_data, f"{self.prefix}body_data")
        ids = [row[ROW_ID] for row in body]
        rows = [{name: value for name, value in row.items() if name != ROW_ID} for row in body]
        abstract = self.abstract
        return rows if abstract is None else merge(abstract, ids, rows, complete=False)


@dataclass(frozen=True, slots=True)
class BodyParameter:
    """A parameter of the author's that receives a body."""

    name: str
    form: BodyForm
    prefix: str
    optional: bool

    def arguments(self) -> list[inspect.Parameter]:
        """The parameters of the tool in its place."""
        return [keyword(self.prefix + name, annotation, "") for name, annotation in ARGUMENTS.items()]

    def given(self, arguments: dict[str, Any]) -> GivenBody:
        """What the call passes for it, taken out of `arguments`."""
        found = {name: arguments.pop(self.prefix + name) for name in ARGUMENTS}
        if found["resource_url"] and found["body_data"].strip() == "[]":
            found["body_data"] = ""  # which models add as a filler
        return GivenBody(self.prefix, **found)


def body_parameters(
    parameters: Sequence[inspect.Parameter], tool: str, named: Sequence[str] | None = None
) -> list[BodyParameter]:
    """The parameters that receive bodies: those `named`, else all whose annotation is a table or a list of objects.

    If there is none of these, it is the first parameter. One body has S2SP's arguments, each of several its own.

    Raises:
        ConfigError: there is no such parameter.
    """
    forms = {parameter.name: form_of(parameter.annotation) for parameter in parameters}
    chosen = _chosen(forms, tool, named)
    several = len(chosen) > 1
    return [
        BodyParameter(
            parameter.name,
            forms[parameter.name],
            f"{parameter.name}_" if several else "",
            parameter.default is not parameter.empty,
        )
        for parameter in parameters
        if parameter.name in chosen
    ]


def _chosen(forms: Mapping[str, BodyForm], tool: str, named: Sequence[str] | None) -> list[str]:
    if named is not None:
        if isinstance(named, str) or not named or set(named) - set(forms):
            raise ConfigError(f"bodies names parameters of {tool}, which are: {', '.join(forms) or 'none'}")
        return list(named)
    if not forms:
        raise ConfigError(f"The consumer tool {tool} needs a parameter for the rows, such as rows: list[dict]")
    return [name for name, form in forms.items() if form.is_row_form] or [next(iter(forms))]
