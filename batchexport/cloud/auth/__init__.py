"""Signing in: which account a target means, and the tokens or signatures that authenticate its requests."""
