"""`import mcp_sd` is our compatibility package, with all of its modules."""

import importlib
import pkgutil
import sys

import broker_plane.compat.mcp_sd as ours

for module in pkgutil.walk_packages(ours.__path__, ours.__name__ + "."):
    sys.modules["mcp_sd" + module.name.removeprefix(ours.__name__)] = importlib.import_module(module.name)
sys.modules["mcp_sd"] = ours
