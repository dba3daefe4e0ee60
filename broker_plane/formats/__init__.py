"""File formats: rows and tables out of files, and into files and HTTP answers.

Text formats are read in this process. Parquet, Arrow and XLSX files are read in a process of their own with a limit on
its memory, because a small file of these formats can claim any amount of it.
"""
