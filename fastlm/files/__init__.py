"""Reading files with errors that name the place, and writing them so that nothing half-written is visible."""
