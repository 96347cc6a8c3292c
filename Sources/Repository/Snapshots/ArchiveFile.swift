/// The names of files in an archive of pg_dump's directory format (pg_backup_directory.c).
package enum ArchiveFile {
  /// The table of contents.
  package static let contents = "toc.dat"

  /// Whether a file holds one large object.
  package static func isLargeObject(_ name: String) -> Bool { name.hasPrefix("blob_") }

  /// Whether a file lists large objects: one until version 16, several from then on.
  package static func isLargeObjectList(_ name: String) -> Bool { name.hasPrefix("blobs") && name.hasSuffix(".toc") }

  /// Whether a file belongs to large objects.
  package static func concernsLargeObjects(_ name: String) -> Bool { isLargeObject(name) || isLargeObjectList(name) }
}
