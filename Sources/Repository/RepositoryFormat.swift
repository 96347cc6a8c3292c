package import Digests
internal import Encryption
package import Foundation

/// What `firn.json` says of a repository.
package struct RepositoryFormat: Codable, Sendable, Equatable {
  /// How files are cut. Set when the repository is made: other values find no chunk again.
  ///
  /// A changed row costs a chunk, and each chunk costs an entry in the chunk table: where rows are narrow, more of them change
  /// a chunk, and smaller chunks pay. Measured on a night of 0.5 % updates and 2 % new rows.
  package struct Chunking: Codable, Sendable, Equatable {
    package var algorithm = "fastcdc-nc2"
    /// Bytes of a chunk on average: a power of two. No chunk but a file's last is shorter than a quarter, none longer than eight times it.
    package var average: Int
    /// The same for tables whose rows are shorter than `wideRow` bytes on average.
    package var narrowAverage: Int
    package var wideRow = 1024
    /// The first state of the SplitMix64 sequence that fills the gear table.
    package var gearSeed: UInt64 = 0x6669_726E

    package init(average: Int) {
      self.average = average
      narrowAverage = average / 2
    }

    fileprivate var isSound: Bool {
      algorithm == "fastcdc-nc2" && [average, narrowAverage].allSatisfy { $0 >= 256 && $0 <= 1 << 20 && $0.nonzeroBitCount == 1 }
        && wideRow >= 1 && wideRow <= 1 << 30
    }
  }

  /// The newest version this program reads and writes.
  package static let newestVersion = 1
  package static let key: StoreKey = "firn.json"

  package var formatVersion = RepositoryFormat.newestVersion
  package var repositoryID: String
  package var createdAt: Date
  package var chunking = Chunking(average: 4 << 10)
  /// The key of chunk digests: 64 hexadecimal digits. Tells nothing of what is stored; other keys find no chunk again.
  package var digestKey: String
  /// Plain bytes in a frame, about.
  package var frameBytes = 4 << 20
  /// Stored bytes of an object, about.
  package var objectBytes = 8 << 20
  /// age recipients; none where the repository is not encrypted.
  package var recipients: [String] = []
  /// Whether the first commit writes `Catalog.firstSnapshotMark`. Nil for stores of older programs, of which nothing is known.
  package var marksFirstSnapshot: Bool? = true

  package init(repositoryID: String, createdAt: Date, random: inout some RandomNumberGenerator) {
    self.repositoryID = repositoryID
    let words = (0..<4).map { _ in random.next() as UInt64 }
    digestKey = SHA256Digest(of: words.flatMap { word in (0..<8).map { UInt8(truncatingIfNeeded: word >> UInt64($0 * 8)) } }).description
    self.createdAt = createdAt
  }

  /// Whether what lies in the repository is encrypted.
  package var isEncrypted: Bool { !recipients.isEmpty }

  package var encryption: StoreEncryption {
    StoreEncryption(
      recipients.map { text in
        guard let recipient = try? AgeRecipient(text) else { preconditionFailure("a format with a malformed recipient was let in") }
        return recipient
      })
  }

  package var chunkHasher: ChunkHasher {
    guard let key = SHA256Digest(hexadecimal: digestKey) else { preconditionFailure("a format without a sound key was let in") }
    return ChunkHasher(key: key)
  }

  /// Whether the numbers are such that this program can work with them.
  fileprivate var isSound: Bool {
    chunking.isSound && max(chunking.average, chunking.narrowAverage) * Chunker.maximumFactor <= frameBytes && frameBytes <= 1 << 26
      && objectBytes >= 1 && objectBytes <= 1 << 30 && SHA256Digest(hexadecimal: digestKey) != nil
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
    // Never as if there were none: what follows would be stored in clear.
    for text in format.recipients where (try? AgeRecipient(text)) == nil {
      throw RepositoryError.malformed(key: Self.key, reason: "\(text) is no age recipient")
    }
    self = format
  }
}
