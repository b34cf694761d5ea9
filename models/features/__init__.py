"""Features: how profiles look to learners. One family is one file."""
