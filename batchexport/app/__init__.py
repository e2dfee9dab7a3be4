"""The use cases, each one function: it takes values, and returns what happened or raises our errors.

Nothing in here knows a terminal, Click or signals.
"""
