"""Category models (VMR, Li et al. 2020): an animal's shape, pose and texture predicted from one picture."""
