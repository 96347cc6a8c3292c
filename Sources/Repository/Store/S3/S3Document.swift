internal import Foundation
internal import FoundationXML

/// An answer in XML: elements, without their attributes and name spaces.
struct S3Document {
  let name: String
  private(set) var text = ""
  private(set) var children: [S3Document] = []

  private init(name: String) { self.name = name }

  /// Nil for what is no XML.
  init?(_ bytes: [UInt8]) {
    let reader = Reader()
    let parser = XMLParser(data: Data(bytes))
    parser.delegate = reader
    guard parser.parse(), let root = reader.root else { return nil }
    self = root
  }

  func all(_ name: String) -> [S3Document] { children.filter { $0.name == name } }
  func first(_ name: String) -> String? { children.first { $0.name == name }?.text }

  private final class Reader: NSObject, XMLParserDelegate {
    private var open: [S3Document] = []
    var root: S3Document?

    func parser(
      _ parser: XMLParser, didStartElement name: String, namespaceURI: String?, qualifiedName: String?, attributes: [String: String]
    ) {
      open.append(S3Document(name: name))
    }

    func parser(_ parser: XMLParser, foundCharacters text: String) {
      if !open.isEmpty { open[open.count - 1].text += text }
    }

    func parser(_ parser: XMLParser, didEndElement name: String, namespaceURI: String?, qualifiedName: String?) {
      guard let ended = open.popLast() else { return }
      if open.isEmpty { root = ended } else { open[open.count - 1].children.append(ended) }
    }
  }
}

/// A file in a listing of a bucket.
struct S3Entry {
  /// From the bucket's root.
  let key: String
  let size: Int64
  /// Seconds since 1970.
  let modified: Double

  /// Bytes that no file has: what is larger is no size.
  static let largest: Int64 = 1 << 50

  /// From a `Contents` of a listing.
  /// - Parameter isEncoded: whether keys are encoded as in a URL.
  init?(_ document: S3Document, isEncoded: Bool) {
    guard let named = document.first("Key"), let key = isEncoded ? named.replacing("+", with: " ").removingPercentEncoding : named,
      let size = document.first("Size").flatMap(Int64.init), (0...Self.largest).contains(size),
      let modified = document.first("LastModified").flatMap(Self.seconds)
    else { return nil }
    self.key = key
    self.size = size
    self.modified = modified
  }

  /// From `2026-11-22T02:00:00.000Z`.
  static func seconds(_ text: String) -> Double? {
    let numbers = text.split { !$0.isASCII || !$0.isNumber }.compactMap { Int($0) }
    guard numbers.count >= 6, text.hasSuffix("Z"), (1970...9999).contains(numbers[0]), (1...12).contains(numbers[1]),
      (1...31).contains(numbers[2]), numbers[3...5].allSatisfy({ (0...60).contains($0) })
    else { return nil }
    // Days since 1970 in the proleptic Gregorian calendar, with years that begin in March.
    let year = numbers[1] <= 2 ? numbers[0] - 1 : numbers[0]
    let dayOfYear = (153 * (numbers[1] + (numbers[1] > 2 ? -3 : 9)) + 2) / 5 + numbers[2] - 1
    let days = 365 * year + year / 4 - year / 100 + year / 400 + dayOfYear - 719_468
    return Double(days * 86400 + numbers[3] * 3600 + numbers[4] * 60 + numbers[5])
  }
}
