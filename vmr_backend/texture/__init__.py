"""Colour for the mesh: one UV map baked from all frames of a clip, and hard textured views of a mesh."""
