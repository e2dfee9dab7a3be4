"""The engine: takes rows of one target from the state file through the cloud to an image, exactly once."""
