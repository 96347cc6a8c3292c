/// A size for messages of the core, as `12 MB`.
func megabytes(_ bytes: Int64) -> String { "\(bytes / 1_000_000) MB" }
