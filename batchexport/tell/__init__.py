"""Telling others about a run while it goes and when it ends. Nothing here can break the run.

Events as NDJSON, metrics for Prometheus, and at the end a webhook, a mail, a heartbeat and report files.
"""
