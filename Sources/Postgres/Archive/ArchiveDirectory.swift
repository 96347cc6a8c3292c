internal import Platform

/// What `toc.dat` of a directory archive says of each of its objects: more than `pg_restore --list` prints, and to be changed
/// (pg_backup_archiver.c, ReadHead and ReadToc; formats 1.14 to 1.16, of pg_dump 12 to 18).
package struct ArchiveDirectory: Sendable {
  package struct Entry: Sendable {
    package let dumpID: Int
    package let oid: UInt32
    /// The object's name; of a comment or privilege the kind and name of its object.
    package let tag: String
    /// Such as `TABLE DATA` or `FK CONSTRAINT`.
    package let kind: String
    package let section: Section
    package let definition: String
    package let copyStatement: CopyStatement?
    /// The same as the archive writes it; empty if it has none, or if it is no text in the archive's encoding.
    package let copyText: String
    package let schema: String
    package let tablespace: String
    package let accessMethod: String
    package let owner: String
    package let dependencies: [Int]
    fileprivate let definitionRange: Range<Int>
    fileprivate let tablespaceRange: Range<Int>
    fileprivate let ownerRange: Range<Int>
    /// All of it.
    fileprivate let range: Range<Int>

    /// The file of its rows.
    package var file: String { "\(dumpID).dat" }
    package var name: String { schema.isEmpty ? tag : "\(schema).\(tag)" }
    package var qualifiedName: QualifiedName { QualifiedName(schema: schema, name: tag) }
    /// Whether rows are loaded through the root of the partitions, which may put them in another partition.
    package var isLoadedThroughRoot: Bool { definition.hasPrefix("-- load via partition root") }
  }

  /// Where an entry stands in the order of a restore (pg_backup.h, teSection). Comments and privileges have no section of their own.
  package enum Section: Int, Sendable { case none = 1, preData, data, postData }

  package let entries: [Entry]
  private let bytes: [UInt8]
  private let encoding: ArchiveEncoding
  /// Where the number of entries stands.
  private let countPlace: Int
  /// Whether entries tell the kind of a relation, as they do from format 1.16 on.
  private let hasRelationKinds: Bool

  /// Bytes.
  private static let integerSize = 4

  /// Why a table of contents can't be read.
  package struct Unreadable: Error {
    package let reason: String
  }

  /// - Throws: `Unreadable`.
  package init(parsing bytes: [UInt8]) throws {
    let first = try ArchiveDirectory(parsing: bytes, in: .utf8)
    let encoding = first.entries.first { $0.kind == "ENCODING" }.map { ArchiveEncoding(statement: $0.definition) } ?? .utf8
    self = encoding == .utf8 ? first : try ArchiveDirectory(parsing: bytes, in: encoding)
  }

  private init(parsing bytes: [UInt8], in encoding: ArchiveEncoding) throws {
    self.bytes = bytes
    self.encoding = encoding
    var reader = Reader(bytes: bytes, encoding: encoding)
    guard try reader.take(5).elementsEqual("PGDMP".utf8) else { throw Unreadable(reason: "it is no archive") }
    let version = (try reader.byte(), try reader.byte())
    _ = try reader.byte()
    guard version.0 == 1, (14...16).contains(version.1) else { throw Unreadable(reason: "its format is \(version.0).\(version.1)") }
    // An `int` of C, which has four bytes on every machine that PostgreSQL runs on.
    guard try reader.byte() == Self.integerSize else { throw Unreadable(reason: "its integers have another size") }
    _ = try reader.byte()
    _ = try reader.byte()
    if version.1 >= 15 { _ = try reader.byte() } else { _ = try reader.integer() }
    for _ in 0..<7 { _ = try reader.integer() }
    for _ in 0..<3 { _ = try reader.string() }
    countPlace = reader.place
    hasRelationKinds = version.1 >= 16
    let count = try reader.integer()
    guard count >= 0, count <= bytes.count else { throw Unreadable(reason: "its length makes no sense") }
    var entries: [Entry] = []
    for _ in 0..<count {
      let start = reader.place
      let id = try reader.integer()
      _ = try reader.integer()
      _ = try reader.string()
      let oid = UInt32(try reader.text()) ?? 0
      let tag = try reader.text()
      let kind = try reader.text()
      let section = Section(rawValue: try reader.integer()) ?? .none
      let definitionStart = reader.place
      let definition = try reader.text()
      let definitionRange = definitionStart..<reader.place
      _ = try reader.string()
      let copyBytes = try reader.string().map(Array.init) ?? []
      let copyText = encoding.text(copyBytes)
      let schema = try reader.text()
      let tablespaceStart = reader.place
      let tablespace = try reader.text()
      let tablespaceRange = tablespaceStart..<reader.place
      let accessMethod = try reader.text()
      if version.1 >= 16 { _ = try reader.integer() }
      let ownerStart = reader.place
      let owner = try reader.text()
      let ownerRange = ownerStart..<reader.place
      _ = try reader.string()
      var dependencies: [Int] = []
      while let dependency = try reader.string() { dependencies.append(Int(String(decoding: dependency, as: UTF8.self)) ?? 0) }
      // The name of its file.
      _ = try reader.string()
      entries.append(
        Entry(
          dumpID: id, oid: oid, tag: tag, kind: kind, section: section, definition: definition, copyStatement: CopyStatement(copyBytes),
          copyText: encoding.bytes(copyText) == copyBytes ? copyText : "", schema: schema,
          tablespace: tablespace, accessMethod: accessMethod, owner: owner, dependencies: dependencies, definitionRange: definitionRange,
          tablespaceRange: tablespaceRange, ownerRange: ownerRange, range: start..<reader.place))
    }
    guard reader.place == bytes.count else { throw Unreadable(reason: "something follows its end") }
    self.entries = entries
  }

  /// The encoding of names, statements and rows, as PostgreSQL calls it.
  package var encodingName: String {
    let parts = (entries.first { $0.kind == "ENCODING" }?.definition ?? "").split(separator: "'", omittingEmptySubsequences: false)
    return parts.count >= 3 ? String(parts[1]) : "UTF8"
  }

  /// Text of the archive, or of a server's answer in its encoding.
  package func text(_ bytes: some Collection<UInt8>) -> String { encoding.text(bytes) }

  /// Text in the archive's encoding.
  package func encoded(_ text: String) -> [UInt8] { encoding.bytes(text) }

  /// The statements by which `pg_restore` sets what the archive says of its sessions: encoding, string literals, `search_path`.
  package var sessionStatements: [String] {
    ["ENCODING", "STDSTRINGS", "SEARCHPATH"].compactMap { kind in entries.first { $0.kind == kind }?.definition }
  }

  /// The same table of contents with other definitions, tablespaces and owners. An empty owner leaves an object with the role that
  /// creates it.
  package func bytes(definition: (Entry) -> String, tablespace: (String) -> String, owner: (Entry) -> String) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(bytes.count)
    var done = 0
    for entry in entries {
      for (range, before, after) in [
        (entry.definitionRange, entry.definition, definition(entry)),
        (entry.tablespaceRange, entry.tablespace, tablespace(entry.tablespace)), (entry.ownerRange, entry.owner, owner(entry)),
      ] where !before.isSame(as: after) {
        result += bytes[done..<range.lowerBound]
        Self.append(encoding.bytes(after), to: &result)
        done = range.upperBound
      }
    }
    return result + bytes[done...]
  }

  private static func append(_ number: Int, to result: inout [UInt8]) {
    result.append(number < 0 ? 1 : 0)
    for place in 0..<integerSize { result.append(UInt8(truncatingIfNeeded: number.magnitude >> (8 * place))) }
  }

  /// - Parameter text: nil for none, which isn't the same as an empty one.
  private static func append(_ text: [UInt8]?, to result: inout [UInt8]) {
    append(text?.count ?? -1, to: &result)
    result += text ?? []
  }

  /// The same table of contents with the rows of further tables, where pg_dump would have listed them.
  /// - Parameter statements: the tables' COPY statements, by their object ids.
  /// - Returns: the bytes, and the names of the rows' files by the tables' ids; nil if a table is not in it, has its rows already, or if its
  ///   rows' place is not certain.
  package func addingRows(_ statements: [UInt32: String]) -> (bytes: [UInt8], files: [UInt32: String])? {
    let ids = Set(entries.map(\.dumpID)).union(entries.flatMap(\.dependencies))
    guard var next = ids.max().map({ $0 + 1 }) else { return nil }
    let rows = entries.indices.filter { entries[$0].kind == "TABLE DATA" }
    // Without any, they come first of their section (pg_dump_sort.c, dbObjectTypePriority).
    let first = rows.first ?? entries.firstIndex { $0.section == .data || $0.section == .postData } ?? entries.count
    guard rows.elementsEqual(first..<(first + rows.count)), entries.count + statements.count < 1 << 31 else { return nil }
    let known = Set(rows.map { entries[$0].oid })
    var block = rows.map { (schema: encoding.bytes(entries[$0].schema), tag: encoding.bytes(entries[$0].tag), bytes: bytes[entries[$0].range]) }
    var files: [UInt32: String] = [:]
    for table in entries where table.kind == "TABLE" {
      guard let statement = statements[table.oid], !known.contains(table.oid), files[table.oid] == nil else { continue }
      let name = "\(next).dat"
      files[table.oid] = name
      block.append((encoding.bytes(table.schema), encoding.bytes(table.tag), rowsEntry(next, of: table, statement, file: name)[...]))
      next += 1
    }
    guard files.count == statements.count else { return nil }
    // As pg_dump sorts them (pg_dump_sort.c, DOTypeNameCompare).
    block.sort { left, right in
      left.schema == right.schema ? left.tag.lexicographicallyPrecedes(right.tag) : left.schema.lexicographicallyPrecedes(right.schema)
    }
    var result = Array(bytes[..<countPlace])
    Self.append(entries.count + files.count, to: &result)
    for entry in entries[..<first] { result += bytes[entry.range] }
    for row in block { result += row.bytes }
    for entry in entries[(first + rows.count)...] { result += bytes[entry.range] }
    return (result, files)
  }

  /// An entry as pg_dump writes it for rows (pg_dump.c, dumpTableData; pg_backup_archiver.c, WriteToc).
  private func rowsEntry(_ id: Int, of table: Entry, _ statement: String, file: String) -> [UInt8] {
    var result: [UInt8] = []
    Self.append(id, to: &result)
    // It has data.
    Self.append(1, to: &result)
    for text in ["0", "\(table.oid)", table.tag, "TABLE DATA"] { Self.append(encoding.bytes(text), to: &result) }
    Self.append(Section.data.rawValue, to: &result)
    // No definition, and no statement to drop it.
    for _ in 0..<2 { Self.append(nil, to: &result) }
    for text in [statement, table.schema] { Self.append(encoding.bytes(text), to: &result) }
    // Neither tablespace nor access method.
    for _ in 0..<2 { Self.append(nil, to: &result) }
    if hasRelationKinds { Self.append(0, to: &result) }
    for text in [table.owner, "false", "\(table.dumpID)"] { Self.append(encoding.bytes(text), to: &result) }
    Self.append(nil, to: &result)
    Self.append(encoding.bytes(file), to: &result)
    return result
  }

  private struct Reader {
    let bytes: [UInt8]
    var place = 0
    private let encoding: ArchiveEncoding

    init(bytes: [UInt8], encoding: ArchiveEncoding) {
      self.bytes = bytes
      self.encoding = encoding
    }

    mutating func take(_ count: Int) throws -> ArraySlice<UInt8> {
      guard count >= 0, count <= bytes.count - place else { throw Unreadable(reason: "it is cut off") }
      defer { place += count }
      return bytes[place..<(place + count)]
    }

    mutating func byte() throws -> UInt8 { try take(1).first! }

    /// A sign, then the bytes from the least significant on.
    mutating func integer() throws -> Int {
      let isNegative = try byte() != 0
      var value = 0
      for (place, byte) in try take(integerSize).enumerated() { value |= Int(byte) << (8 * place) }
      return isNegative ? -value : value
    }

    /// Nil for what is none, which an empty text isn't.
    mutating func string() throws -> ArraySlice<UInt8>? {
      let length = try integer()
      return length < 0 ? nil : try take(length)
    }

    mutating func text() throws -> String { try string().map(encoding.text) ?? "" }
  }
}
