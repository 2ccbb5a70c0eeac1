"""Category models (VMR, Li et al. 2020): what one picture says of an animal's shape, pose and texture."""
