"""Pages that people look at: renders side by side, curves, tables; one HTML file without outside parts, and a PNG."""
