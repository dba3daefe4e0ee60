"""Statements that try to reach more than the tables of a query: what each would have to touch, and the statement.

`{file}` is a file with a secret word, `{port}` a port at which somebody listens. The table is `a`: two of its columns
and some of its rows are visible, and the word is in those that are not.
"""

from __future__ import annotations

FILES = {
    "read_csv": "SELECT * FROM read_csv('{file}')",
    "read_csv in a subquery": "SELECT (SELECT any_value(word) FROM read_csv_auto('{file}')) AS w FROM a",
    "read_text": "SELECT content FROM read_text('{file}')",
    "read_blob": "SELECT content FROM read_blob('/proc/self/environ')",
    "read_json": "SELECT * FROM read_json_auto('{file}')",
    "read_parquet": "SELECT * FROM read_parquet('{file}')",
    "read_duckdb": "SELECT * FROM read_duckdb('{file}')",
    "a file as a table": "SELECT * FROM '{file}'",
    "a file behind WITH": 'WITH "{file}" AS (SELECT * FROM "{file}") SELECT * FROM "{file}"',
    "glob": "SELECT * FROM glob('/etc/*')",
    "sniff_csv": "SELECT * FROM sniff_csv('{file}')",
    "parquet_metadata": "SELECT * FROM parquet_metadata('{file}')",
    "a lateral file": "SELECT * FROM a, LATERAL (SELECT * FROM read_text('{file}')) t",
}
NETWORK = {
    "http": "SELECT * FROM read_csv('http://127.0.0.1:{port}/x.csv')",
    "http as a table": "SELECT * FROM 'http://127.0.0.1:{port}/x.parquet'",
    "s3": "SELECT * FROM 's3://bucket/x.parquet'",
    "httpfs": "LOAD httpfs",
    "INSTALL": "INSTALL httpfs",
    "a community extension": "INSTALL quack FROM community",
    "postgres": "ATTACH 'host=127.0.0.1 port={port}' AS p (TYPE postgres)",
}
STATEMENTS = {
    "COPY to a file": "COPY a TO '{file}.out'",
    "COPY of a query": "COPY (SELECT * FROM a) TO '{file}.out' (FORMAT parquet)",
    "COPY from a file": "COPY a FROM '{file}'",
    "EXPORT": "EXPORT DATABASE '{file}.d'",
    "IMPORT": "IMPORT DATABASE '{file}.d'",
    "ATTACH": "ATTACH '{file}.db' AS d",
    "PRAGMA": "PRAGMA database_list",
    "SET": "SET memory_limit = '100GB'",
    "SET enable_external_access": "SET enable_external_access = true; SELECT * FROM '{file}'",
    "RESET": "RESET lock_configuration",
    "CALL": "CALL pragma_version()",
    "CREATE MACRO": "CREATE MACRO f() AS TABLE SELECT * FROM read_text('{file}')",
    "CREATE TABLE": "CREATE TABLE t AS SELECT * FROM a",
    "CREATE SECRET": "CREATE SECRET s (TYPE http)",
    "INSERT": "INSERT INTO a VALUES ('x', 1)",
    "DROP": "DROP VIEW a",
    "CHECKPOINT": "CHECKPOINT",
    "VACUUM": "VACUUM",
    "PREPARE": "PREPARE p AS SELECT * FROM read_text('{file}')",
    "BEGIN": "BEGIN TRANSACTION",
    "EXPLAIN": "EXPLAIN ANALYZE SELECT * FROM a",
    "two statements": "SELECT 1; COPY a TO '{file}.out'",
    "a comment between": "SELECT 1 /* ; */ ; ATTACH '{file}.db'",
    "nothing": "-- nothing",
}
SETTINGS = {
    "duckdb_settings": "SELECT * FROM duckdb_settings()",
    "current_setting": "SELECT current_setting('temp_directory')",
    "getenv": "SELECT getenv('CANARY')",
    "getvariable": "SELECT getvariable('CANARY')",
    "duckdb_secrets": "SELECT * FROM duckdb_secrets()",
    "duckdb_databases": "SELECT path FROM duckdb_databases()",
    "duckdb_views": "SELECT sql FROM duckdb_views()",
    "duckdb_logs": "SELECT * FROM duckdb_logs",
    "a system view behind WITH": "WITH duckdb_views AS (SELECT * FROM duckdb_views) SELECT * FROM duckdb_views",
    "information_schema": "SELECT * FROM information_schema.tables",
    "pg_catalog": "SELECT * FROM pg_catalog.pg_settings",
    "sqlite_master": "SELECT * FROM sqlite_master",
    "pragma_database_list": "SELECT * FROM pragma_database_list",
    "pragma functions": "SELECT * FROM pragma_table_info('a')",
    "SHOW": "SHOW ALL TABLES",
    "FROM (SHOW)": "FROM (SHOW DATABASES)",
}
INDIRECT = {
    "query": "FROM query('SELECT * FROM read_text(''{file}'')')",
    "query_table": "FROM query_table(['duckdb_views'])",
    "serialized": "SELECT * FROM json_execute_serialized_sql(json_serialize_sql('SELECT 1'))",
    "a plan": "SELECT json_serialize_plan('SELECT * FROM a')",
    "a pointer": "SELECT * FROM arrow_scan(1::POINTER, 2::POINTER, 3::POINTER)",
    "another pointer": "SELECT * FROM arrow_scan_dumb(1::POINTER, 2::POINTER, 3::POINTER)",
    "python_arrow_scan": "SELECT * FROM python_arrow_scan(1::POINTER, 2::POINTER, 3::POINTER)",
    "pandas_scan": "SELECT * FROM pandas_scan(1::POINTER)",
    "a Python variable": "SELECT * FROM table",
    "another table's storage": "SELECT * FROM seq_scan('a')",
    "a quoted table function": "SELECT * FROM main.\"read_text\"('{file}')",
    "write_log": "SELECT write_log('x') FROM a",
}
HIDDEN = {
    "a hidden column": "SELECT secret FROM a",
    "a hidden column of an alias": "SELECT t.secret FROM a t",
    "a hidden column by a condition": "SELECT event FROM a WHERE secret LIKE 'Z%'",
    "COLUMNS": "SELECT COLUMNS('sec.*') FROM a",
    "another body": "SELECT * FROM b",
    "the row identifier": "SELECT rowid FROM a",
    "a place": "SELECT #3 FROM a",
    "a member of the row": "SELECT a.a.secret FROM a",
    "a struct of the row": "SELECT struct_extract(a, 'secret') FROM a",
    "USING": "SELECT 1 FROM a JOIN a AS b USING (secret)",
}
REFUSED = FILES | NETWORK | STATEMENTS | SETTINGS | INDIRECT | HIDDEN
"""All of these are errors."""

SHOWN = {
    "everything": "SELECT * FROM a",
    "the row": "SELECT a FROM a",
    "the row as JSON": "SELECT to_json(a) AS j FROM a",
    "SUMMARIZE": "SUMMARIZE a",
    "DESCRIBE": "DESCRIBE a",
    "COLUMNS(*)": "SELECT max(COLUMNS(*)) FROM a",
    "the largest": "SELECT max(event) AS e, max(severity) AS s, count(*) AS n FROM a",
    "an error with a value": "SELECT error(event) FROM a",
    "a cast with a value": "SELECT event::INTEGER FROM a",
    "a sample": "SELECT * FROM a USING SAMPLE 100%",
    "a list of all": "SELECT list(event) AS l FROM a",
    "an unpivoted table": "FROM (UNPIVOT (SELECT event, severity::VARCHAR AS s FROM a) ON event, s)",
    "the tree of a statement": "SELECT json_serialize_sql('SELECT secret FROM a') AS j FROM a",
}
"""Statements over the visible part: they may succeed or fail, and must not show the word."""
