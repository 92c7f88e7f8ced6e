"""How fast it is, always beside something else that does the same: see README.md."""
