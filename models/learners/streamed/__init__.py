"""Models that learn in the stream, one file each: the name of the file is the name of the model.

Which partition of `training` each of them reads is told in :mod:`config.topics`.
"""
