"""Names that were replaced do not come back, and a class name means one thing."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

from tests.house.source import PACKAGE, ROOT, python_files, tree_of

REPLACED = {
    "Arrival": "FeedMessage",
    "Tries": "RetrySchedule",
    "Less": "Narrowing",
    "Edition": "Version",
    "Ledger": "EffectLog or DeletionRecord",
    "Handed": "BytesSent, ConsumerArguments or OfferRegistry",
    "Floor": "UploadLock",
    "Linger": "AckWatcher",
    "Ends": "DeliveryTracker",
    "Parts": "PartialUploadStore",
    "GrantStates": "EntryStore",
    "Entries": "EntryStore",
    "Hooking": "Webhooks",
    "Feeding": "Feeds",
    "Owning": "the part of Plane",
    "Publishing": "the part of Plane",
    "Pulling": "the part of Plane",
    "Subscribing": "the part of Plane",
    "Transferring": "Transfers",
    "patiently": "retry_while_retryable",
    "quiet_logger": "redacted_logger",
    "pull_and": "pull(validate=)",
    "pull_table_and": "pull_table(validate=)",
    "why_no_guests": "guest_access_problem",
    "BrokerAwayError": "BrokerUnavailableError",
    "NotBuiltError": "NotSupportedYetError",
    "UnidentifiedError": "AuthenticationRequiredError",
    "CostlyError": "TooCostlyError",
    "NotAdmittedError": "BrokerAccessDeniedError",
    "NoUploadError": "UploadNotFoundError",
    "TransferBrokenError": "TransferInterruptedError",
}
"""Old name → what is used instead."""

FOLDERS = (PACKAGE, ROOT / "servers", ROOT / "demos")


def names_in(path: Path) -> Iterator[tuple[int, str]]:
    """Every name that a file defines, uses or imports, with its line."""
    for node in ast.walk(tree_of(path)):
        match node:
            case ast.Name(id=name) | ast.Attribute(attr=name) | ast.arg(arg=name):
                yield node.lineno, name
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield node.lineno, name
            case ast.ImportFrom(names=names):
                yield from ((node.lineno, each.name) for each in names)


def test_no_replaced_name_is_left() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line} {name}: use {REPLACED[name]}"
        for path in python_files(*FOLDERS)
        for line, name in names_in(path)
        if name in REPLACED
    ]
    assert not found, "\n".join(found)


def test_a_public_class_has_a_name_of_its_own() -> None:
    """Two classes of one name send a reader who searches for it to the wrong file."""
    places: defaultdict[str, list[str]] = defaultdict(list)
    for path in python_files(PACKAGE):
        if "compat" in path.parts:  # the names are those of the packages that it stands in for
            continue
        for node in tree_of(path).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(str(path.relative_to(ROOT)))
    twice = {name: files for name, files in places.items() if len(files) > 1 and name not in SYNCHRONOUS}
    assert not twice, "\n".join(f"{name}: {', '.join(files)}" for name, files in sorted(twice.items()))


SYNCHRONOUS = frozenset({"Plane"})
"""Classes of `broker_plane.sync`, which has a second form of each."""
