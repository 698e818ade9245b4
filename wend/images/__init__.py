"""Image files: finding them, their sizes from headers, and their pixels as RGB, as stored."""
