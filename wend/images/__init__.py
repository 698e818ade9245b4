"""Image files: finding them, their sizes from headers, and their pixels as RGB, as stored.

May import ``structures`` and what is below it; knows no data set and no format of truth.
"""
