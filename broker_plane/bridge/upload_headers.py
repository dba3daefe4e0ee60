"""What the two dialects of uploads say in headers, parsed at the door. Pure."""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping

from broker_plane.errors import UnsupportedTypeError, WireError
from broker_plane.plane.uploads.uploads import Declared
from broker_plane.wire.body import BYTES_TYPE
from broker_plane.wire.digests import digest_field, parse_digests
from broker_plane.wire.disposition import check_file_name, name_of
from broker_plane.wire.upload import UploadRecord

TUS = "1.0.0"
TUS_TYPE = "application/offset+octet-stream"
PARTIAL_TYPE = "application/partial-upload"

_NUMBER = re.compile(r"[0-9]{1,18}\Z")
_TYPE = re.compile(r"[A-Za-z0-9!#$&^_.+-]{1,64}/[A-Za-z0-9!#$&^_.+-]{1,64}( *; *[\x20-\x7e]{0,128})?\Z")
_CHECKSUM = re.compile(r"(?:sha256:)?([0-9a-fA-F]{64})\Z")


def check_form(headers: Mapping[str, str]) -> None:
    """Raise UnsupportedTypeError (415) where the content is a form with files in it, and no file."""
    if headers.get("content-type", "").partition(";")[0].strip().lower() == "multipart/form-data":
        raise UnsupportedTypeError(
            "A form (multipart/form-data) is no upload: send the file itself as the content, as curl -T FILE URL does, "
            "and not curl -F"
        )


def number_of(headers: Mapping[str, str], name: str) -> int | None:
    """The whole number in the header `name`; None where there is none.

    Raises:
        WireError: it is another thing.
    """
    text = headers.get(name)
    if text is None:
        return None
    if not _NUMBER.match(text.strip()):
        raise WireError(f"{name.title()} is a whole number of bytes")
    return int(text)


def is_complete(headers: Mapping[str, str], *, default: bool) -> bool:
    """`Upload-Complete`, a Boolean of RFC 9651: whether the request brings the last byte."""
    text = headers.get("upload-complete")
    if text is None:
        return default
    if text.strip() not in ("?0", "?1"):
        raise WireError("Upload-Complete is ?1 for the last part, ?0 for any other")
    return text.strip() == "?1"


def declared_by(headers: Mapping[str, str], *, whole: bool) -> Declared:
    """What a PUT or POST says of the upload; of a `whole` its Content-Length is the upload's length."""
    length = number_of(headers, "upload-length")
    size = number_of(headers, "content-length")
    if whole and size is not None:
        if length not in (None, size):
            raise WireError("Upload-Length is that of the whole, and this request is the whole")
        length = size
    return Declared(
        length=length,
        media_type=_media_type(headers.get("content-type", "")),
        name=name_of(headers.get("content-disposition", "")),
        **_digests(headers),
    )


def tus_declared_by(headers: Mapping[str, str]) -> Declared:
    """What a creation of tus says: `Upload-Metadata` may name `filename`, `filetype` and `checksum` (sha256:<hex>)."""
    length = number_of(headers, "upload-length")
    if length is None and headers.get("upload-defer-length") != "1":
        raise WireError("A creation says Upload-Length, or Upload-Defer-Length: 1")
    said = _metadata(headers.get("upload-metadata", ""))
    name = check_file_name(said.get("filename") or said.get("name", ""))
    checksum = said.get("checksum", "")
    found = _CHECKSUM.match(checksum)
    if checksum and not found:
        raise WireError("checksum in Upload-Metadata is sha256: and 64 characters of hex")
    return Declared(
        length=length,
        media_type=_media_type(said.get("filetype") or said.get("type", "")),
        name=name,
        **_digests(headers, found[1].lower() if found else ""),
    )


def metadata_of(record: UploadRecord) -> str:
    """The Upload-Metadata of an upload, as its creation could have said it."""
    said = {"filename": record.name, "filetype": record.media_type}
    return ",".join(f"{name} {b64encode(text.encode()).decode()}" for name, text in said.items() if text)


def repr_digest(digest: str) -> list[tuple[str, str]]:
    """The Repr-Digest (RFC 9530) of a SHA-256 in hex; nothing where there is none."""
    return [("repr-digest", digest_field(digest))] if digest else []


def _digests(headers: Mapping[str, str], said: str = "") -> dict[str, str]:
    """What Repr-Digest says of the whole; `said` is the SHA-256 that stands elsewhere."""
    found = parse_digests(headers.get("repr-digest", ""), "repr-digest", strict=True)
    sha256 = found.get("sha-256", said)
    if said and sha256 != said:
        raise WireError("Repr-Digest and the checksum in Upload-Metadata differ")
    return {"digest": sha256, "digest512": found.get("sha-512", "")}


def _metadata(text: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        name, _, value = pair.partition(" ")
        try:
            found[name] = b64decode(value.strip(), validate=True).decode()
        except ValueError as error:
            raise WireError("Upload-Metadata is a comma list of names and base64 texts") from error
    return found


def _media_type(text: str) -> str:
    if text and not _TYPE.match(text):
        raise WireError("This is no media type")
    return text.strip() or BYTES_TYPE
