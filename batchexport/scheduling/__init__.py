"""When jobs start and exports may begin, how long they take, and the files by which others start them. Pure.

Local time ends here: everything above reckons in seconds since the epoch.
"""
