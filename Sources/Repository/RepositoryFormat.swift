package import Foundation

/// What `firn.json` says of a repository.
package struct RepositoryFormat: Codable, Sendable, Equatable {
  /// How files are cut. Set when the repository is made: other values find no chunk again.
  package struct Chunking: Codable, Sendable, Equatable {
    package var algorithm = "fastcdc-nc2"
    /// Bytes. No chunk but a file's last is shorter.
    package var minimum: Int
    /// Bytes. A power of two.
    package var average: Int
    /// Bytes. No chunk is longer.
    package var maximum: Int
    /// The first state of the SplitMix64 sequence that fills the gear table.
    package var gearSeed: UInt64 = 0x6669_726E

    package init(average: Int) {
      self.average = average
      minimum = average / 4
      maximum = average * 8
    }
  }

  /// The newest version this program reads and writes.
  package static let newestVersion = 1
  package static let key: StoreKey = "firn.json"

  package var formatVersion = RepositoryFormat.newestVersion
  package var repositoryID: String
  package var createdAt: Date
  package var chunking = Chunking(average: 8 << 10)
  /// Plain bytes in a frame, about.
  package var frameBytes = 2 << 20
  /// Stored bytes of an object, about.
  package var objectBytes = 8 << 20
  /// age recipients; none where the repository is not encrypted.
  package var recipients: [String] = []

  package init(repositoryID: String, createdAt: Date) {
    self.repositoryID = repositoryID
    self.createdAt = createdAt
  }

  /// Whether the numbers are such that this program can work with them.
  fileprivate var isSound: Bool {
    let sizes = chunking
    return sizes.algorithm == "fastcdc-nc2" && sizes.minimum >= 64 && sizes.minimum < sizes.average
      && sizes.average < sizes.maximum && sizes.average.nonzeroBitCount == 1 && sizes.maximum <= frameBytes
      && sizes.maximum <= 1 << 24 && frameBytes <= 1 << 26 && objectBytes >= 1 && objectBytes <= 1 << 30
  }

  /// - Throws: `RepositoryError` for what is no repository, half written, or newer than this program.
  package init(parsing bytes: [UInt8], location: String) throws {
    struct Version: Decodable { let formatVersion: Int }
    let data = Data(bytes)
    guard let version = try? JSON.decoder.decode(Version.self, from: data) else {
      throw RepositoryError.malformed(key: Self.key, reason: "it is cut off or was changed")
    }
    guard version.formatVersion <= Self.newestVersion else {
      throw RepositoryError.newerFormat(location: location, version: version.formatVersion)
    }
    guard let format = try? JSON.decoder.decode(Self.self, from: data), format.isSound, format.formatVersion == 1 else {
      throw RepositoryError.malformed(key: Self.key, reason: "its values make no sense")
    }
    guard format.recipients.isEmpty else { throw RepositoryError.encrypted(location: location) }
    self = format
  }
}

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
