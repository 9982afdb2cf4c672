"""What everything else stands on, and knows nothing about images: errors, devices, random streams, files, processes."""
