internal import Foundation
internal import Platform

/// How an archive writes names and statements: as the database it is of.
struct ArchiveEncoding: Sendable, Equatable {
  /// iconv's name; nil for UTF-8 and for unknown encodings.
  private let name: String?

  static let utf8 = ArchiveEncoding(name: nil)

  private init(name: String?) { self.name = name }

  /// Parses a statement such as `SET client_encoding = 'LATIN1';` from an archive or from pg_restore's output.
  init(statement: some StringProtocol) {
    let parts = statement.split(separator: "'", omittingEmptySubsequences: false)
    guard parts.count >= 3, parts[0].contains("client_encoding") else {
      self = .utf8
      return
    }
    self.init(named: String(parts[1]))
  }

  /// - Parameter named: by PostgreSQL ("Character Set Support" of its documentation).
  init(named encoding: String) {
    let others = [
      "LATIN1": "ISO-8859-1", "LATIN2": "ISO-8859-2", "LATIN3": "ISO-8859-3", "LATIN4": "ISO-8859-4", "LATIN5": "ISO-8859-9",
      "LATIN6": "ISO-8859-10", "LATIN7": "ISO-8859-13", "LATIN8": "ISO-8859-14", "LATIN9": "ISO-8859-15", "LATIN10": "ISO-8859-16",
      "ISO_8859_5": "ISO-8859-5", "ISO_8859_6": "ISO-8859-6", "ISO_8859_7": "ISO-8859-7", "ISO_8859_8": "ISO-8859-8", "KOI8R": "KOI8-R",
      "KOI8U": "KOI8-U", "EUC_CN": "EUC-CN", "EUC_JP": "EUC-JP", "EUC_KR": "EUC-KR", "EUC_TW": "EUC-TW", "EUC_JIS_2004": "EUC-JISX0213",
    ]
    name = others[encoding] ?? (encoding.hasPrefix("WIN") ? "CP\(encoding.dropFirst(3))" : nil)
  }

  func text(_ bytes: some Collection<UInt8>) -> String {
    name.flatMap { TextConversion.text(of: Array(bytes), in: $0) } ?? String(decoding: bytes, as: UTF8.self)
  }

  func bytes(_ text: String) -> [UInt8] { name.flatMap { TextConversion.bytes(of: text, in: $0) } ?? Array(text.utf8) }
}
