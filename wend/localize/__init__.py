"""Boxes from images alone: DDT on any backbone, and a border and centre prior without a network."""
