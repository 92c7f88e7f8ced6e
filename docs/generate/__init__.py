"""The reference, written out of the code: `make docs`."""
