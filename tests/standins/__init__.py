"""Local servers that speak providers' real wire formats, errors and broken streams included."""
