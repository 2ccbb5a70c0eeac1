"""Families of procedural animals, the project's own, and collections of their pictures.

    python -m samples.families OUT --family bird|quadruped [--count 1000] [--size 160] [--seed 0]

`python` is the backend's. OUT receives
  images/000000.jpg …   one animal each, of its own proportions, pose, coat, light, background and camera
  annotations.json      masks and keypoints in COCO's format
  truth.npz             rotation (N, 3, 3), scale (N,), shift (N, 2) of each picture's weak-perspective camera, in
                        pixels, and keypoints (N, K, 3) in object space
The same seed gives the same pictures, whatever their count; `render.animal_of` gives the mesh of any of them again.
"""

from . import bird, quadruped

FAMILIES = {"bird": bird.FAMILY, "quadruped": quadruped.FAMILY}
