"""Cameras and a mean shape from the keypoints of an image collection: rigid structure from motion, weak perspective.

The pictures show animals that differ in proportions and move their limbs. So the shape comes with a covariance of how
keypoints stray from it together: a head that turns is one witness of the pose, not as many as it has keypoints. Poses
are searched for over the whole view sphere, and shape and covariance are symmetric in each round.
"""
