"""The cloud: volumes, images and sign-in over HTTP. The only package that speaks it as a client."""

from batchexport.cloud.client import CloudClient, connect
from batchexport.cloud.facts import AccountFacts
from batchexport.cloud.sign_ins import SignIns, persistence

__all__ = ["AccountFacts", "CloudClient", "SignIns", "connect", "persistence"]
