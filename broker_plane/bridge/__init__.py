"""HTTP in. The only room that imports starlette and uvicorn."""
