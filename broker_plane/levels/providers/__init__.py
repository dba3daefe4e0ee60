"""Writers of the code: a model's HTTP API, a program, a function, or a script of answers for tests.

A provider gets the prompt and returns code. No key ever appears in an error, and none is in the prompt.
"""
