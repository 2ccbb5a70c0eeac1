"""Masks of a subject in all frames of a clip, from what is marked on some; labels of one frame propagated to all."""
