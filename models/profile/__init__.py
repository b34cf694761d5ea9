"""The online profile of one user: its packed state and how events change it."""
