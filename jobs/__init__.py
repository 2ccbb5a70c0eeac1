"""Runs of the backend as child processes; never imports bpy."""
