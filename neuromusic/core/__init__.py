"""What all packages share: errors, files, records, output directories, workers, progress."""
