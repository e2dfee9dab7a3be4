"""What others see of a run: events and metrics while it goes on, notifications and report files when it ends.

Nothing here can break or delay the run.
"""
