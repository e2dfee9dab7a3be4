"""Servers stopped for the export of their volumes, and started again, whatever happens.

`downtime` takes the turns, `groups` finds what hangs together, `moves` decides, `care` does it, `orders` asks
the cloud, and `sights` remembers what was seen.
"""
