"""Runs in a PostgreSQL database: the tables and statements of the state file, on a server that many share."""
