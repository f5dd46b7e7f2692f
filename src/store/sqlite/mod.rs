//! The embedded store: SQLite, one writer thread, one reader thread.
