"""What code that was written for others imports instead: the same names, on the plane."""

from broker_plane.tools.sdk_version import need_sdk_2

need_sdk_2("broker_plane.compat")
