"""What is shipped around the package: wheel, server configuration, containers, direction of imports."""
