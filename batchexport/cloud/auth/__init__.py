"""Signing in: which account is meant, and by what the cloud lets its requests through."""
