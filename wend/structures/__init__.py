"""What travels between the rooms: boxes, frames, records of images, detections.

Imports nothing of WEND's but its errors and files.
"""
