internal import FirnCore
internal import Foundation
internal import Platform
internal import Retention
internal import SystemPackage
internal import Yams

/// Reads one value of a YAML file and names its line if it is wrong.
struct YAMLValue {
  let key: String
  let node: Node
  /// The file's name.
  let name: String

  /// The text of a file.
  /// - Throws: `ConfigurationError`.
  static func text(of file: FilePath) throws -> String {
    // A pipe would keep us waiting.
    guard let status = try? Folder.status(of: file, followingLinks: true), status.kind == .file else {
      throw ConfigurationError(message: "\(file) is no file", hint: nil)
    }
    let bytes: [UInt8]
    do { bytes = try Folder.contents(of: file, limit: 1 << 20) } catch { throw ConfigurationError(message: "\(error)", hint: nil) }
    guard let text = String(validating: bytes, as: UTF8.self) else {
      throw ConfigurationError(message: "\(file) is not in UTF-8", hint: "convert it: iconv -t UTF-8")
    }
    return text
  }

  /// The mapping that a text is.
  /// - Returns: nil for an empty text.
  /// - Throws: `ConfigurationError`.
  static func root(of text: String, name: String) throws -> [(key: Node, value: Node)]? {
    // Each level of aliases may multiply the content below it; this few keep it small.
    guard text.matches(of: /(^|[\s\[\{,:])\*\w/).count <= 16 else {
      throw ConfigurationError(message: "\(name) uses more than 16 aliases", hint: "write out what they stand for")
    }
    let root: Node?
    do { root = try Yams.compose(yaml: text) } catch let error as YamlError {
      throw ConfigurationError(message: "\(name)\(place(of: error, in: text))", hint: "look at that line, and at the one before it")
    }
    guard let root else { return nil }
    guard case .mapping(let mapping) = root else {
      throw ConfigurationError(message: "\(name) is not a list of keys and values", hint: "write a line as store: /var/lib/firn")
    }
    return mapping.map { ($0.key, $0.value) }
  }

  /// Describes the error and its line without the line's text, which may be a password.
  private static func place(of error: YamlError, in text: String) -> String {
    switch error {
    case .scanner(_, let problem, let mark, _), .parser(_, let problem, let mark, _), .composer(_, let problem, let mark, _):
      " line \(mark.line): it is not YAML: \(problem)"
    case .duplicatedKeysInMapping(let keys, _):
      ": these keys stand there twice: "
        + keys.sorted().map { "\($0) (lines \(lines(of: $0, in: text).map(String.init).joined(separator: ", ")))" }.joined(separator: ", ")
    default: ": it is not YAML"
    }
  }

  /// Where a key stands, counted from 1.
  private static func lines(of key: String, in text: String) -> [Int] {
    text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline).enumerated().filter { _, line in
      line.drop { $0 == " " || $0 == "-" || $0 == "\"" || $0 == "'" }.hasPrefix(key) && line.contains(":")
    }.map { $0.offset + 1 }
  }

  /// Reads as much of a mapping as possible: if the text is no valid YAML, each key at the left margin with its own
  /// lines is tried alone.
  static func readableEntries(of text: String, name: String) -> [(key: Node, value: Node)] {
    if let whole = try? root(of: text, name: name) { return whole }
    var parts: [String] = []
    for line in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline) {
      if parts.isEmpty || line.first?.isLetter == true { parts.append("") }
      parts[parts.count - 1] += line + "\n"
    }
    return parts.flatMap { part in (try? root(of: part, name: name)) ?? [] }
  }

  func wrong(_ wanted: String) -> ConfigurationError {
    ConfigurationError(message: "\(place): \(key) is not \(wanted)", hint: nil)
  }

  /// The file and the line.
  var place: String { "\(name)\(line(of: node))" }

  private func line(of node: Node) -> String { node.mark.map { " line \($0.line)" } ?? "" }

  func text() throws -> String {
    // A null value is no text, although it is spelled `~` or `null`.
    guard node.null == nil, let text = node.string, !text.isEmpty else { throw wrong("a text") }
    return text
  }

  /// The location of a store, as far as its spelling shows one.
  func location() throws -> String {
    let text = try text()
    guard !text.contains("://") || text.hasPrefix("s3://") || text.hasPrefix("sftp://") else {
      throw wrong("a folder, s3://BUCKET/PREFIX or sftp://USER@HOST/PATH")
    }
    return text
  }

  /// The text of a value; `null` for an empty one.
  func value() throws -> String { node.null == nil ? try text() : "null" }

  func number(in range: ClosedRange<Int>) throws -> Int {
    guard let number = node.string.flatMap(Int.init), range.contains(number) else {
      throw wrong("a number from \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }

  func size(atLeast least: Int64 = 0) throws -> Int64 {
    guard let size = node.string.flatMap(Quantity.bytes), size >= least else {
      throw wrong("a size such as 512MiB" + (least > 0 ? ", at least \(least >> 20)MiB" : ""))
    }
    return size
  }

  func duration() throws -> Duration {
    guard let duration = node.string.flatMap(Quantity.duration) else { throw wrong("a duration such as 30s, 15min, 26h or 8d") }
    return duration
  }

  /// A duration that is not zero.
  func age() throws -> Duration {
    let age = try duration()
    guard age > .zero else { throw wrong("a duration above zero, such as 26h or 8d") }
    return age
  }

  func incremental() throws -> SnapshotRequest.Incremental {
    guard let mode = node.string.flatMap({ SnapshotRequest.Incremental(rawValue: $0) }) else { throw wrong("auto, yes, no or file-times") }
    return mode
  }

  /// Whole seconds.
  func seconds() throws -> Int64 { try duration().components.seconds }

  /// The name of one that the system knows.
  func timeZone() throws -> String {
    let name = try text()
    do { _ = try RetentionCalendar(zone: name) } catch {
      throw ConfigurationError(message: "\(place): there is no time zone \(name)", hint: "it is written as Europe/Berlin")
    }
    return name
  }

  func share() throws -> Double {
    guard let text = node.string, text.hasSuffix("%"), let number = Double(text.dropLast()), number > 0, number <= 100 else {
      throw wrong("a share such as 50%")
    }
    return number / 100
  }

  /// Whether it has keys and values.
  var isMapping: Bool { node.mapping != nil }

  func list() throws -> [String] { try items().map { try $0.text() } }

  /// Those of a list, or the only one.
  func items() throws -> [YAMLValue] {
    if node.null != nil { return [] }
    if node.string != nil { return [self] }
    guard case .sequence(let sequence) = node else { throw wrong("a list") }
    return sequence.map { YAMLValue(key: "one of \(key)", node: $0, name: name) }
  }

  /// Keys and values, each to be read for itself.
  /// - Parameter keys: those there may be; nil for any.
  func entries(_ keys: [String]? = nil) throws -> [YAMLValue] {
    guard case .mapping(let mapping) = node else {
      throw ConfigurationError(
        message: "\(name)\(line(of: node)): \(key) is not a list of keys and values",
        hint: keys.map { "its keys are \($0.joined(separator: ", "))" })
    }
    return try mapping.map { try Self.entry($0.key, $0.value, name, keys) }
  }

  static func entry(_ key: Node, _ value: Node, _ name: String, _ keys: [String]?) throws -> YAMLValue {
    let text = key.string ?? ""
    if let keys, !keys.contains(text) {
      throw ConfigurationError(
        message: "\(name)\(key.mark.map { " line \($0.line)" } ?? ""): there is no key \(text)", hint: hint(for: text, in: keys))
    }
    return YAMLValue(key: text, node: value, name: name)
  }

  private static func hint(for word: String, in keys: [String]) -> String {
    Spelling.nearest(to: word, in: keys).map { "did you mean \($0)?" } ?? "its keys are \(keys.joined(separator: ", "))"
  }
}
