internal import Digests
internal import Encryption
package import Foundation

/// JSON as it is written in a repository: sorted keys, ISO 8601 times, readable.
package enum JSON {
  package static var encoder: JSONEncoder {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.sortedKeys, .prettyPrinted, .withoutEscapingSlashes]
    encoder.dateEncodingStrategy = .iso8601
    return encoder
  }

  package static var decoder: JSONDecoder {
    let decoder = JSONDecoder()
    decoder.dateDecodingStrategy = .iso8601
    return decoder
  }

  package static func bytes(_ value: some Encodable) throws -> [UInt8] { Array(try encoder.encode(value)) + [0x0A] }
}
