"""batchexport: a list of cloud volumes becomes images, each exactly once."""

__version__ = "0.1.0"
