"""What the descriptors of `levels` say about their protocols: what a model reads to write the transfer code."""

from __future__ import annotations

from .levels_rows import COLUMNS

RESULT = f"""
The result is one CSV file: the line `{COLUMNS}`, then a line for each reading, with the three numbers in decimal and
commas between them. Every line ends with a line feed, the last one, too.
"""
SIGNED_PAGES = """
A JSON API over HTTP. GET the endpoint with the query `page=1`, then `page=2`, and so on. Each answer is an object
with the members `page`, `pages` (how many there are) and `rows`, an array of [station, at, level_mm]. Each request
has two headers: X-Time, the time in unix seconds, and X-Sign, the lower-case hexadecimal HMAC-SHA256 of three lines
joined by a line feed: the method, the path with its query, and the value of X-Time. An answer other than 200 is an
object with the member `error`.
"""
FRAMED_TCP = """
A binary protocol over TCP; numbers are big-endian, and unsigned unless said otherwise. The client sends the magic
`XF`, the version 1 (1 byte), the length of the name (1 byte) and the name, which is the path of the endpoint without
its first slash. The server answers with a header: the magic `XF`, the version (1 byte) and the number of records (4
bytes). Then come frames: the length of the payload (4 bytes), the payload, and the CRC-32 of the payload alone (4
bytes; the one of zlib and PNG). A frame of length 0, with its CRC, is the last. A payload is whole records of 10
bytes: station (2 bytes), at (4 bytes), level_mm (4 bytes, signed). If the server's version is another one, a length
(2 bytes) and a text that explains it follow the version.
"""
TICKER_EVENTS = """
A stream of lines over HTTP (GET the endpoint). An event begins with a line `#name number`; its data follows in lines
that begin with `|`, and an empty line ends it. A line that is `*` is a heartbeat and means nothing. The events are
`open` (the number is how many parts will come), `part` (numbered from 1) and `fin`, which is the end signal. The data
of a part is base64 that is cut into lines anywhere: join the lines, then decode. The bytes of all parts in their
order are the file.
"""


def one_line(*texts: str) -> str:
    """The texts without their line breaks."""
    return " ".join(word for text in texts for word in text.split())
