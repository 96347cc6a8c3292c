internal import Digests
internal import Foundation
internal import Platform
package import SystemPackage
package import Transfer

/// A store in a bucket of an S3 server. A write is durable once the server has confirmed it.
package final class S3Store: Store {
  private let client: S3Client
  private let prefix: String
  private let storageClass: String?
  /// Whether the server confirms uploads only by MD5, and not by SHA-256.
  private let knowsMD5Alone = Monitor(false)

  /// - Parameters:
  ///   - credentialsCommand: a command that prints credentials; used instead of those of the environment, profile or
  ///     machine.
  ///   - environment: AWS's variables.
  package init(
    _ location: S3Location, credentialsCommand: String? = nil, environment: [String: String], retries: Retries = Retries()
  ) {
    client = S3Client(location, credentialsCommand: credentialsCommand, environment: environment, retries: retries)
    prefix = location.prefix
    storageClass = location.storageClass
  }

  package var location: String { client.location.text }
  package var requestsAtOnce: Int { 8 }
  package var isDurableWhenVisible: Bool { true }

  /// Sends a request. Returns the answer if it is a success or has one of these statuses.
  private func answer(to request: S3Client.Request, allowing statuses: Set<Int> = []) throws -> TransferResponse {
    let response = try client.answer(to: request)
    guard (200..<300).contains(response.status) || statuses.contains(response.status) else { throw client.failure(response, request) }
    return response
  }

  // MARK: Reading

  package func read(_ key: StoreKey, limit: Int) throws -> [UInt8] {
    var request = S3Client.Request("GET", key)
    request.limit = limit
    let response = try answer(to: request)
    guard response.body.count <= limit else { throw StoreError.tooLarge(key) }
    if let told = response.headers["content-length"].flatMap(Int.init), told != response.body.count { throw StoreError.truncated(key) }
    return response.body
  }

  package func read(_ key: StoreKey, from offset: Int64, count: Int) throws -> [UInt8] {
    guard count > 0 else {
      try requirePlace(offset, in: key)
      return []
    }
    var request = S3Client.Request("GET", key)
    request.headers = [("Range", "bytes=\(offset)-\(offset + Int64(count) - 1)")]
    request.limit = count
    // An unexpected answer is not reported as damage, so that no operator repairs a sound store.
    let notThePart = StoreError.unreachable(location: location, reason: "\(location) sent another part of \(key) than was requested")
    let response: TransferResponse
    do { response = try answer(to: request) } catch StoreError.tooLarge { throw notThePart }
    if let first = response.headers["content-range"].flatMap(Self.firstByte(ofRange:)) {
      // Some servers answer with this header and status 200 instead of 206.
      guard first == offset else { throw notThePart }
    } else if response.status != 206 {
      guard offset == 0, response.body.count <= count else { throw notThePart }
    }
    guard response.body.count == count else { throw StoreError.truncated(key) }
    return response.body
  }

  /// The first byte of a range, as in `bytes 0-9/100`.
  private static func firstByte(ofRange text: String) -> Int64? {
    text.hasPrefix("bytes ") ? Int64(text.dropFirst(6).prefix { $0 != "-" }) : nil
  }

  package func size(of key: StoreKey) throws -> Int64? {
    let request = S3Client.Request("HEAD", key)
    let response = try answer(to: request, allowing: [404])
    if response.status == 404 { return nil }
    guard let size = response.headers["content-length"].flatMap(Int64.init), (0...S3Entry.largest).contains(size) else {
      throw client.failure(response, request)
    }
    return size
  }

  package func list(_ prefix: String, _ body: (StoreEntry) throws -> Void) throws {
    var continuation: String?
    repeat {
      var request = S3Client.Request("GET", nil)
      request.limit = 64 << 20
      // Sorted by name, as the signature requires.
      if let continuation { request.query.append(("continuation-token", continuation)) }
      request.query += [("encoding-type", "url"), ("list-type", "2"), ("max-keys", "1000"), ("prefix", self.prefix + prefix)]
      let response = try answer(to: request)
      guard let document = S3Document(response.body), document.name == "ListBucketResult" else {
        throw StoreError.unreachable(location: location, reason: "\(location) did not answer with a listing")
      }
      let isEncoded = document.first("EncodingType") == "url"
      for contents in document.all("Contents") {
        guard let entry = S3Entry(contents, isEncoded: isEncoded), entry.key.hasPrefix(self.prefix + prefix) else {
          throw StoreError.unreachable(location: location, reason: "\(location) listed an entry that can't be understood")
        }
        // Markers that other programs create for folders.
        if entry.key.hasSuffix("/") { continue }
        try body(StoreEntry(key: String(entry.key.dropFirst(self.prefix.count)), size: entry.size, modified: entry.modified))
      }
      let next = document.first("NextContinuationToken")
      switch document.first("IsTruncated") {
      case "false": continuation = nil
      case "true" where next != nil && next != "" && next != continuation: continuation = next
      // A truncated listing would hide snapshots from garbage collection.
      default:
        throw StoreError.unreachable(location: location, reason: "\(location) answered with a part of a listing, without a token for the next part")
      }
    } while continuation != nil
  }

  // MARK: Writing

  package func write(_ bytes: [UInt8], to key: StoreKey, durability: Durability) throws {
    // An object's name is its digest, which the server checks.
    try send(Upload(bytes, ObjectName(key: key)?.digest), to: key)
  }

  package func write(contentsOf path: FilePath, to key: StoreKey) throws { try send(Upload(path), to: key) }

  /// Bytes to upload, and the digests that the server checks.
  private struct Upload {
    let body: TransferRequest.Body
    let digest: SHA256Digest
    let md5: () throws -> [UInt8]

    init(_ bytes: [UInt8], _ digest: SHA256Digest? = nil) {
      body = .bytes(bytes)
      self.digest = digest ?? SHA256Digest(of: bytes)
      md5 = { MD5Hasher.digest(of: bytes) }
    }

    init(_ path: FilePath) throws {
      func eachPiece(_ body: (Span<UInt8>) -> Void) throws -> Int64 {
        let file = try File(path, .read)
        var count: Int64 = 0
        while case let piece = try file.read(count: 1 << 20, from: count), !piece.isEmpty {
          body(piece.span)
          count += Int64(piece.count)
        }
        return count
      }
      var sha256 = SHA256Hasher()
      let count = try eachPiece { sha256.update($0) }
      body = .file(path, count: count)
      digest = sha256.finalize()
      md5 = {
        var md5 = MD5Hasher()
        _ = try eachPiece { md5.update($0) }
        return md5.finalize()
      }
    }
  }

  /// Uploads a file, and makes sure that the server stored the bytes that were sent.
  /// - Returns: the answer: a success, or one of `statuses`.
  @discardableResult private func send(
    _ upload: Upload, to key: StoreKey, headers: [(name: String, value: String)] = [], allowing statuses: Set<Int> = []
  ) throws -> TransferResponse {
    var request = S3Client.Request("PUT", key)
    request.body = upload.body
    request.digest = upload.digest
    request.headers = [("Content-Type", "application/octet-stream")] + headers
    if let storageClass { request.headers.append(("x-amz-storage-class", storageClass)) }
    if !knowsMD5Alone.current {
      var checked = request
      checked.headers.append((Self.checksumHeader, upload.digest.base64))
      let response = try client.answer(to: checked)
      // Servers that do not know this header ignore it, or refuse the request.
      let isRefused = response.status == 501 || response.status == 400 && !S3Client.isPassing(response)
      if !isRefused, let accepted = try accepted(response, upload, checked, key, allowing: statuses) { return accepted }
    }
    request.headers.append(("Content-MD5", Data(try upload.md5()).base64EncodedString()))
    let response = try client.answer(to: request)
    // A success without a checksum in the answer: the server has compared the digest in the request itself.
    return try accepted(response, upload, request, key, allowing: statuses) ?? response
  }

  /// Returns a success once the server has confirmed the bytes it received, or an answer with one of `statuses`.
  /// - Returns: nil for a success without such a confirmation.
  private func accepted(
    _ response: TransferResponse, _ upload: Upload, _ request: S3Client.Request, _ key: StoreKey, allowing statuses: Set<Int>
  ) throws -> TransferResponse? {
    guard (200..<300).contains(response.status) else {
      guard statuses.contains(response.status) else { throw client.failure(response, request) }
      return response
    }
    func require(_ isSame: Bool) throws {
      guard !isSame else { return }
      try? delete([key])
      throw StoreError.unreachable(location: location, reason: "\(location) stored other bytes of \(key) than were sent")
    }
    if let checksum = response.headers[Self.checksumHeader] {
      try require(checksum == upload.digest.base64)
      return response
    }
    knowsMD5Alone.update { $0 = true }
    // If the server encrypts with another method than AES256, its ETag is not the MD5 of the bytes.
    guard let tag = response.headers["etag"]?.trimmingCharacters(in: ["\""]), tag.count == 32, !tag.contains("-"),
      response.headers["x-amz-server-side-encryption"] == nil || response.headers["x-amz-server-side-encryption"] == "AES256"
    else { return nil }
    try require(tag.lowercased() == Hexadecimal.text(of: try upload.md5()))
    return response
  }

  /// Servers that support this header store only bytes with that digest, and confirm it in the answer. AWS requires
  /// it or Content-MD5 for buckets with object lock.
  private static let checksumHeader = "x-amz-checksum-sha256"

  package func create(_ bytes: [UInt8], at key: StoreKey) throws -> Bool {
    // Not every server supports If-None-Match.
    if try size(of: key) != nil { return false }
    let upload = Upload(bytes)
    var condition = [(name: "If-None-Match", value: "*")]
    // 409: another request is writing this key.
    for _ in 0..<20 {
      let response = try send(upload, to: key, headers: condition, allowing: [409, 412, 501])
      switch response.status {
      // An earlier attempt of ours may have created the file, and its answer was lost. No other process writes the
      // same bytes.
      case 412: return try response.attempts > 1 && read(key, limit: bytes.count + 1) == bytes
      case 501: condition = []
      case 409: try Interruption.sleep(until: .now + .milliseconds(200))
      default: return true
      }
      if try size(of: key) != nil { return false }
    }
    throw StoreError.unreachable(location: location, reason: "\(location) does not answer whether \(key) exists")
  }

  package func rename(_ key: StoreKey, as aside: StoreKey) throws -> Bool {
    var request = S3Client.Request("PUT", aside)
    request.headers = [("x-amz-copy-source", "/" + URLText.encoded(path: "\(client.location.bucket)/\(prefix)\(key)"))]
    if let storageClass { request.headers.append(("x-amz-storage-class", storageClass)) }
    let response = try answer(to: request, allowing: [404])
    if response.status == 404 {
      if case .missing = client.failure(response, request) { return false }
      throw client.failure(response, request)
    }
    // A copy that failed after it began is reported in the body of a successful answer.
    guard S3Document(response.body)?.name == "CopyObjectResult" else { throw client.failure(response, request) }
    try delete([key])
    return true
  }

  package func delete(_ keys: [StoreKey], _ mayGoOn: @escaping @Sendable () throws -> Void) throws {
    for start in stride(from: 0, to: keys.count, by: 1000) {
      try deleteTogether(Array(keys[start..<min(start + 1000, keys.count)]), mayGoOn)
    }
  }

  /// - Parameter patience: how often to repeat the request for files that the server was too busy to delete.
  private func deleteTogether(_ keys: [StoreKey], _ mayGoOn: @escaping @Sendable () throws -> Void, patience: Int = 5) throws {
    let objects = keys.map { "<Object><Key>\(URLText.escaped(prefix + $0))</Key></Object>" }.joined()
    let body = Array("<Delete xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">\(objects)<Quiet>true</Quiet></Delete>".utf8)
    var request = S3Client.Request("POST", nil)
    request.query = [("delete", "")]
    request.headers = [("Content-MD5", Data(MD5Hasher.digest(of: body)).base64EncodedString()), ("Content-Type", "application/xml")]
    request.body = .bytes(body)
    request.digest = SHA256Digest(of: body)
    request.mayBeSent = mayGoOn
    let response = try answer(to: request, allowing: [405, 501])
    guard response.status < 300 else {
      // This server cannot delete several files in one request.
      for key in keys {
        try Interruption.check()
        var single = S3Client.Request("DELETE", key)
        single.mayBeSent = mayGoOn
        _ = try answer(to: single, allowing: [404])
      }
      return
    }
    guard let document = S3Document(response.body), document.name == "DeleteResult" else { throw client.failure(response, request) }
    let errors = document.all("Error").filter { $0.first("Code") != "NoSuchKey" }
    guard let error = errors.first else { return }
    let busy = errors.filter { S3Client.passingCodes.contains($0.first("Code") ?? "") }.compactMap { $0.first("Key") }
    if busy.count == errors.count, patience > 0, busy.allSatisfy({ $0.hasPrefix(prefix) }) {
      try Interruption.sleep(until: .now + .milliseconds(Int.random(in: 200...1000)))
      return try deleteTogether(busy.map { String($0.dropFirst(prefix.count)) }, mayGoOn, patience: patience - 1)
    }
    let reason = error.first("Message") ?? error.first("Code") ?? "the server keeps them"
    let locked = errors.filter(Self.tellsOfALock)
    let denied = errors.filter { $0.first("Code") == "AccessDenied" || Self.tellsOfALock($0) }
    if denied.count < errors.count {
      throw StoreError.unreachable(location: location, reason: "\(location) did not delete \(errors.count) of \(keys.count) files: \(reason)")
    }
    // If no key could be deleted, a permission is missing; if some could, the others are locked.
    if denied.count == keys.count, locked.isEmpty {
      throw StoreError.readOnly(location: location, reason: "the server denies deleting in \(location): \(reason)")
    }
    throw StoreError.locked(denied.compactMap { $0.first("Key").map { String($0.dropFirst(prefix.count)) } }, reason: reason)
  }

  /// Servers describe a locked file in different ways.
  private static func tellsOfALock(_ error: S3Document) -> Bool {
    let words = "\(error.first("Code") ?? "") \(error.first("Message") ?? "")".lowercased()
    return ["object lock", "objectlock", "object is locked", "worm protected", "worm-protected", "retention period", "retention mode", "legal hold"]
      .contains { words.contains($0) }
  }

  package func flush() throws {}
  package func removeLeftovers() throws {}
}

extension URLText {
  /// For the text of an XML element.
  static func escaped(_ text: String) -> String {
    text.replacing("&", with: "&amp;").replacing("<", with: "&lt;").replacing(">", with: "&gt;")
  }
}
