"""Rigged bodies that a fit starts from: their file, what is fitted of them, those that come along."""
