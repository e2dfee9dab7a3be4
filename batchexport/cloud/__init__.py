"""The cloud: volumes, images and sign-in over HTTP. The only package that speaks it as a client."""

from batchexport.cloud.auth.sign_in_pacing import SignIns, sign_in_timeouts
from batchexport.cloud.connection import AccountFacts, Cloud, connect

__all__ = ["AccountFacts", "Cloud", "SignIns", "connect", "sign_in_timeouts"]
