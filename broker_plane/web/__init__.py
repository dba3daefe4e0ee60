"""An HTTP server and what HTTP says, without knowledge of the plane; the only importer of uvicorn."""
