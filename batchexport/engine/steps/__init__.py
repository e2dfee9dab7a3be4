"""Kinds of work on a job and of resources: what is particular to each."""
