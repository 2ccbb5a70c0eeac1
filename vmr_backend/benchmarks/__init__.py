"""Measurements of the backend's parts on this machine: `python -m vmr_backend benchmark ...`."""
