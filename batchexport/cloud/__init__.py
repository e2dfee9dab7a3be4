"""The cloud: volumes, images and sign-in over HTTP. The only package that speaks it as a client."""

from batchexport.cloud.connection import Cloud, connect
from batchexport.cloud.facts import AccountFacts
from batchexport.cloud.sign_ins import SignIns, persistence

__all__ = ["AccountFacts", "Cloud", "SignIns", "connect", "persistence"]
