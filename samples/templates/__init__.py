"""Templates that come along, made from the families of procedural animals.

    python -m samples.templates OUT.safetensors --blender-python .venv-bpy-4.5/bin/python

`python` is the backend's. OUT receives the quadruped's template: one closed surface around the family's parts, its
proportions as a basis, Rigify's bones, skin weights, limits of joints, the family's poses, and its keypoints.
"""
