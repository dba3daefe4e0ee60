"""The descriptions that come with this package, one TOML file each, under the reserved owner `builtin`."""
