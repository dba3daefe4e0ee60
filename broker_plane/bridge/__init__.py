"""The plane over HTTP: the routes of bodies, feeds, streams and uploads, as a Starlette application."""
