"""The files of the demo, generated each time: a PDF, a text, a picture with words, and a large picture."""

from __future__ import annotations

import random
from pathlib import Path

PAGES = (
    ["Minutes of the harbour board", "The northern quay is closed from Monday.", "Pilots are informed by radio."],
    ["Page two", "The dredger arrives on the fourth."],
)
TEXT = "Tide table\n" + "\n".join(f"{hour:02d}:00  {(hour * 37) % 290} cm" for hour in range(24)) + "\n"
WORDS = "QUAY CLOSED"
LARGE = (2400, 1800)


def make_files(directory: Path) -> None:
    """Write all of them into `directory`."""
    from PIL import Image, ImageDraw, ImageFont  # from an extra, which `is_ready` checks first

    (directory / "minutes.pdf").write_bytes(pdf(PAGES))
    (directory / "tides.txt").write_text(TEXT, "utf-8")
    sign = Image.new("RGB", (800, 200), "white")
    ImageDraw.Draw(sign).text((40, 60), WORDS, fill="black", font=ImageFont.load_default(72))
    sign.save(directory / "sign.png")
    # Noise does not compress: this one is as large as its pixels.
    noise = random.Random(1).randbytes(LARGE[0] * LARGE[1] * 3)  # noqa: S311  # it hides nothing
    Image.frombytes("RGB", LARGE, noise).save(directory / "harbour.png")


def pdf(pages: tuple[list[str], ...]) -> bytes:
    """Return a PDF 1.4 whose pages have these lines in Helvetica (ISO 32000-1, section 7.5)."""
    kids = " ".join(f"{4 + 2 * number} 0 R" for number in range(len(pages)))
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    for number, lines in enumerate(pages):
        text = "BT /F1 14 Tf 72 770 Td 20 TL " + " ".join(f"({line}) Tj T*" for line in lines) + " ET"
        objects += [
            "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F1 3 0 R >> >> "
            f"/Contents {5 + 2 * number} 0 R >>",
            f"<< /Length {len(text)} >>\nstream\n{text}\nendstream",
        ]
    raw = b"%PDF-1.4\n"
    places = []
    for number, each in enumerate(objects, 1):
        places.append(len(raw))
        raw += f"{number} 0 obj\n{each}\nendobj\n".encode()
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    size = len(objects) + 1
    return (
        raw
        + (
            f"xref\n0 {size}\n0000000000 65535 f \n{table}"
            f"trailer\n<< /Size {size} /Root 1 0 R >>\nstartxref\n{len(raw)}\n%%EOF\n"
        ).encode()
    )
