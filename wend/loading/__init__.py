"""What training and evaluation see of an image: crop, cache, bad images, check of a data set."""
