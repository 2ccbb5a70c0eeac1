"""Reconstructs an animated mesh from a clip; a plain Python package that never imports bpy."""
