"""From detections to numbers: protocols, metrics, statistics, baselines, tables and files."""
