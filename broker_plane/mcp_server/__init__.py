"""PlaneServer and its decorators. The importer of the MCP SDK."""

from broker_plane.tools.sdk_version import need_sdk_2

need_sdk_2("PlaneServer")
