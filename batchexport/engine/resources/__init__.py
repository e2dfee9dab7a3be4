"""Resources: what exists, or is off, because of us, and must be released whatever ends the run.

`kind` says what a new kind of resource has to provide, `lifecycle` decides, `keeper` acts by `requests`,
`groups` finds the next jobs to acquire for, `control_loop` runs it all, `book` is what the store keeps, and
`last_call` releases what it can when the store cannot be written any more.
"""
