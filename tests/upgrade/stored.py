"""What the store holds: shared by the program that writes it and the test that reads it."""

from __future__ import annotations

ROWS = [{"number": number, "text": f"row {number}", "odd": bool(number % 2)} for number in range(2000)]
RAW = bytes(range(256)) * 8000
HALF = len(RAW) // 2
