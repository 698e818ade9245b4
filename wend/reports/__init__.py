"""What people look at: boxes on images, histograms, curves, the summary of a run."""
