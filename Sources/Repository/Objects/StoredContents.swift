package import Digests
package import Encryption
internal import Platform
internal import Synchronization

/// Reads the content of a repository's files, decrypted if the repository is encrypted.
package struct StoredContents: Sendable {
  /// How long a file is before and after it was encrypted.
  struct Length: Sendable, Equatable {
    let content: Int64
    let stored: Int64
  }

  package let store: any Store
  private let keys: KeyRing?

  /// - Parameter keys: nil if nothing is encrypted.
  package init(_ store: any Store, keys: KeyRing? = nil) {
    self.store = store
    self.keys = keys
  }

  package var areEncrypted: Bool { keys != nil }

  /// The keys of a snapshot's own files.
  package func files(of place: SnapshotPath) -> SnapshotFiles { place.files(areEncrypted: areEncrypted) }

  /// Bytes from the beginning that are fetched along with a header rather than after it.
  private static let nearby: Int64 = 1 << 18

  /// Reads a whole file of at most `limit` stored bytes.
  /// - Parameter digest: the expected digest of the stored bytes; nil to skip the check. The bytes that are checked
  ///   are the bytes returned.
  /// - Throws: `RepositoryError.identityNeeded`, `.wrongIdentity`, `.malformed`, and errors of the store.
  package func read(_ key: StoreKey, limit: Int, expecting digest: SHA256Digest? = nil) throws -> [UInt8] {
    let bytes = try store.read(key, limit: limit)
    if let digest, SHA256Digest(of: bytes) != digest {
      throw RepositoryError.malformed(key: key, reason: "its bytes are not what its checksum says")
    }
    guard let keys else { return bytes }
    let opened = try keys.open(bytes, key)
    return try RepositoryError.telling(of: key) { () throws(AgeError) in try opened.plain(ofAll: bytes[opened.payloadStart...]) }
  }

  /// Part of a file whose lengths are known.
  /// - Throws: as `read(_:limit:)` does.
  func read(_ key: StoreKey, _ part: Range<Int64>, of length: Length) throws -> [UInt8] {
    guard let keys else { return try store.read(key, from: part.lowerBound, count: part.count) }
    let start = length.stored - AgeFile.payloadLength(ofPlain: length.content)
    guard start > 0, start <= Int64(AgeFile.longestStart), part.upperBound <= length.content else {
      throw RepositoryError.malformed(key: key, reason: "its length is wrong")
    }
    let range = OpenedAgeFile.encryptedRange(of: part, in: length.content)
    let opened: OpenedAgeFile
    let encrypted: ArraySlice<UInt8>
    if let known = keys.opened(key) {
      opened = known
      encrypted = try store.read(key, from: start + range.lowerBound, count: range.count)[...]
    } else if range.lowerBound <= Self.nearby {
      let bytes = try store.read(key, from: 0, count: Int(start + range.upperBound))
      opened = try keys.open(bytes, key)
      encrypted = bytes[Int(start + range.lowerBound)...]
    } else {
      opened = try keys.open(try store.read(key, from: 0, count: Int(start)), key)
      encrypted = try store.read(key, from: start + range.lowerBound, count: range.count)[...]
    }
    guard opened.payloadStart == Int(start) else { throw RepositoryError.malformed(key: key, reason: "its length is wrong") }
    return try RepositoryError.telling(of: key) { () throws(AgeError) in try opened.plain(part, of: encrypted, in: length.content) }
  }
}

/// Opens what is encrypted to a repository's recipients. Identities are asked for when the first is needed.
package final class KeyRing: Sendable {
  private let recipients: [String]
  private let load: (@Sendable () throws -> [AgeIdentity])?
  private let identities = Mutex<[AgeIdentity]?>(nil)
  private let files = Mutex<[StoreKey: OpenedAgeFile]>([:])
  /// Files whose keys are kept; opening one takes some 100 µs, and a request.
  private static let mostFiles = 20_000

  /// - Parameters:
  ///   - recipients: named in the error if no identity opens a file.
  ///   - load: returns the identities; nil if there are none.
  package init(recipients: [String], load: (@Sendable () throws -> [AgeIdentity])?) {
    self.recipients = recipients
    self.load = load
  }

  package var hasIdentities: Bool { load != nil }

  func opened(_ key: StoreKey) -> OpenedAgeFile? { files.withLock { $0[key] } }

  /// - Parameter beginning: of the file, at least its header.
  func open(_ beginning: [UInt8], _ key: StoreKey) throws -> OpenedAgeFile {
    let identities = try identities.withLock { identities in
      if let identities { return identities }
      guard let load else { throw RepositoryError.identityNeeded(recipients: recipients) }
      let loaded = try load()
      identities = loaded
      return loaded
    }
    let opened: OpenedAgeFile
    do { opened = try OpenedAgeFile(beginning: beginning, with: identities) } catch AgeError.noMatchingIdentity {
      throw RepositoryError.wrongIdentity(given: identities.map(\.recipient.description), recipients: recipients)
    } catch {
      throw RepositoryError(error, of: key)
    }
    files.withLock { files in
      if files.count >= Self.mostFiles { files.removeAll(keepingCapacity: true) }
      files[key] = opened
    }
    return opened
  }
}

extension RepositoryError {
  init(_ error: AgeError, of key: StoreKey) {
    let reason =
      switch error {
      case .malformed(let reason): "it is not encrypted as it should be: \(reason)"
      default: "its encrypted bytes were changed, or it is cut off"
      }
    self = .malformed(key: key, reason: reason)
  }

  static func telling<Result>(of key: StoreKey, _ body: () throws(AgeError) -> Result) throws -> Result {
    do { return try body() } catch { throw RepositoryError(error, of: key) }
  }
}

/// Encrypts what is written to a repository; does nothing if the repository is not encrypted.
package struct StoreEncryption: Sendable {
  private let recipients: [AgeRecipient]

  package init(_ recipients: [AgeRecipient]) { self.recipients = recipients }

  package var isOn: Bool { !recipients.isEmpty }

  /// - Throws: `AgeError.notARecipient`.
  package func encrypted(_ bytes: [UInt8]) throws -> [UInt8] { isOn ? try AgeFile.encrypt(bytes, to: recipients) : bytes }

  /// Nil if nothing is encrypted.
  func encryptor() throws -> AgeEncryptor? { isOn ? try AgeEncryptor(to: recipients) : nil }
}
