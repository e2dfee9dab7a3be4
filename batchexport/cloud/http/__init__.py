"""HTTP to the services of one target: one session, one rate limiter, errors mapped in one place."""
