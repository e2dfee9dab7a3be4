"""The cloud: volumes, images and sign-in over HTTP. The only package that speaks it as a client."""

from batchexport.cloud.client import CloudClient, connect

__all__ = ["CloudClient", "connect"]
