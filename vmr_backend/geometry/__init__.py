"""Meshes, rotations, cameras and skinning as pure functions on tensors of shape (..., V, 3)."""
