"""WEND: object boxes without box labels (weighted entropy guided binary-class detector)."""

__version__ = "0.1.0"
