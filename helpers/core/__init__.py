"""What every room needs: paths, files, records, manifests, progress, costs. No method."""
