"""Class predictions: classifiers, their preprocessing, files of predictions and imports."""
