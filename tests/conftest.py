"""What all tests share: the first call of a compiled kernel takes seconds, so hypothesis sets no deadline."""

from hypothesis import settings

settings.register_profile("project", deadline=None)
settings.load_profile("project")
