"""HTTP to the services of one target: one session, one rate limiter, and errors mapped in one place."""
