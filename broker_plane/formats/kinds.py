"""The file formats: their names, extensions and media types, and the packages that they need. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import PurePath

from broker_plane.errors import ConfigError, TabularError


class Format(StrEnum):
    """A file format."""

    json = "json"
    ndjson = "ndjson"
    csv = "csv"
    tsv = "tsv"
    msgpack = "msgpack"
    parquet = "parquet"
    arrow = "arrow"
    arrows = "arrows"
    xlsx = "xlsx"
    bytes = "bytes"


@dataclass(frozen=True, slots=True)
class FileKind:
    """A format, and whether the file is compressed with gzip."""

    form: Format
    gzip: bool = False


ENDINGS = {
    ".json": Format.json,
    ".ndjson": Format.ndjson,
    ".jsonl": Format.ndjson,
    ".csv": Format.csv,
    ".tsv": Format.tsv,
    ".parquet": Format.parquet,
    ".arrow": Format.arrow,
    ".feather": Format.arrow,
    ".arrows": Format.arrows,
    ".xlsx": Format.xlsx,
    ".msgpack": Format.msgpack,
}
MEDIA_TYPES = {
    Format.json: "application/json",
    Format.ndjson: "application/x-ndjson",
    Format.csv: "text/csv",
    Format.tsv: "text/tab-separated-values",
    Format.msgpack: "application/msgpack",
    Format.parquet: "application/vnd.apache.parquet",
    Format.arrow: "application/vnd.apache.arrow.file",
    Format.arrows: "application/vnd.apache.arrow.stream",
    Format.xlsx: "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
}
DELIMITED = {Format.csv: ",", Format.tsv: "\t"}
"""The formats of lines and fields, and what separates their fields."""

ARROW_FORMATS = frozenset({Format.parquet, Format.arrow, Format.arrows})
"""The formats with one type for each column, which pyarrow reads and writes."""

NAMED = frozenset({*DELIMITED, *ARROW_FORMATS, Format.xlsx})
"""The formats whose files name all columns before the first row."""

_TEXTS = frozenset({Format.json, Format.ndjson, Format.csv, Format.tsv})
_GZIP = ".gz"
_TABLES = frozenset(
    {
        *(".tab", ".psv", ".pq", ".xls", ".xlsm", ".xlsb", ".ods", ".numbers", ".ipc"),
        *(".orc", ".avro", ".dbf", ".dta", ".sav", ".sas7bdat", ".rds"),
    }
)
"""Extensions of tables that are neither read nor written."""

_PACKED = frozenset({_GZIP, ".bz2", ".xz", ".zst", ".zstd", ".lz4", ".br", ".zip"})
_LISTED = f"{', '.join(ENDINGS)}; text formats also with {_GZIP}"
_MODULES = {
    **dict.fromkeys(ARROW_FORMATS, ("pyarrow", "pyarrow")),
    Format.xlsx: ("python_calamine", "python-calamine"),
}
_WRITING_MODULES = _MODULES | {Format.xlsx: ("xlsxwriter", "XlsxWriter")}


def parse_format(name: str) -> Format:
    """The format of this name. Raises TabularError if there is none."""
    try:
        return Format(name)
    except ValueError as error:
        raise TabularError(f"There is no format {name!r:.40}; choose one of {', '.join(Format)}") from error


def kind_in(name: str, chosen: Format | None = None) -> FileKind:
    """The format of a file to read: the chosen one, or that of its extension; bytes if that is not one of a table.

    Raises:
        TabularError: the extension is that of a table that cannot be read.
    """
    found = _kind_of(name)
    if chosen is not None:
        return FileKind(chosen, found is not None and found.gzip and chosen in _TEXTS)
    if found is not None:
        return found
    suffixes = _suffixes(name)
    packed = suffixes[-1] in _PACKED and (suffixes[-2] in _TABLES or suffixes[-2] in ENDINGS)
    if not packed and suffixes[-1] not in _TABLES:
        return FileKind(Format.bytes)
    ending = "".join(suffixes[-2:]) if packed else suffixes[-1]
    raise TabularError(
        f"{ending} files cannot be read as tables; {'unpack it first' if packed else 'save it as CSV or XLSX'} "
        f"(readable: {_LISTED}), or publish the file as it is with --format bytes"
    )


def kind_out(name: str, chosen: Format | None = None) -> FileKind | None:
    """The format of a file to write: the chosen one, or that of its extension; None if that does not determine one."""
    found = _kind_of(name)
    if chosen is None:
        return found
    return FileKind(chosen, found is not None and found.gzip and chosen in _TEXTS)


def no_format(name: str) -> TabularError:
    """The error for writing rows to a file whose extension does not determine a format."""
    ending = PurePath(name).suffix
    what = (
        f"{ending} files cannot be written" if ending else "The file's name has no extension that determines a format"
    )
    return TabularError(
        f"{what}. This body has rows: use an extension of {_LISTED}, or choose a format with --format "
        "(--format bytes writes the stored encoding)"
    )


@cache
def is_read(form: Format) -> bool:
    """Whether the package that reads this format is installed."""
    module, _ = _MODULES.get(form, ("", ""))
    return not module or find_spec(module) is not None


@cache
def is_written(form: Format) -> bool:
    """Whether the package that writes this format is installed."""
    module, _ = _WRITING_MODULES.get(form, ("", ""))
    return not module or find_spec(module) is not None


@cache
def writer_version(form: Format) -> str:
    """The version of the package that writes this format, which is installed."""
    return version(_WRITING_MODULES[form][1])


def missing(form: Format, *, writing: bool) -> ConfigError:
    """The error for a format whose package is not installed."""
    _, package = (_WRITING_MODULES if writing else _MODULES)[form]
    return ConfigError(f"{form} needs {package}: pip install 'broker-plane[files]'")


def _kind_of(name: str) -> FileKind | None:
    _, inner, last = _suffixes(name)
    if last == _GZIP:
        form = ENDINGS.get(inner)
        return FileKind(form, gzip=True) if form in _TEXTS and form is not None else None
    found = ENDINGS.get(last)
    return None if found is None else FileKind(found)


def _suffixes(name: str) -> list[str]:
    """The last three extensions in lower case, empty ones in front if there are fewer."""
    return ["", "", "", *(suffix.lower() for suffix in PurePath(name).suffixes)][-3:]
