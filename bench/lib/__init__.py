"""What the measurements share: namespaces, processes, statistics, tables."""
