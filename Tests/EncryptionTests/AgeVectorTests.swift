import Compression
import Digests
import Encryption
import Foundation
import Platform
import SystemPackage
import Testing

/// The vectors of age's specification (C2SP/CCTV, age), those too large to keep as they are in zstd instead of zlib.
@Suite struct `A file of age's specification` {
  private struct Vector {
    let name: String
    var values: [String: [String]] = [:]
    let file: [UInt8]

    init(_ path: FilePath) throws {
      name = path.lastComponent?.string ?? ""
      let bytes = try Folder.contents(of: path)
      let end = try #require(bytes.indices.first { $0 > 0 && bytes[$0 - 1] == 0x0A && bytes[$0] == 0x0A })
      for line in String(decoding: bytes[..<end], as: UTF8.self).split(separator: "\n") {
        let colon = try #require(line.firstRange(of: ": "))
        values[String(line[..<colon.lowerBound]), default: []].append(String(line[colon.upperBound...]))
      }
      let body = Array(bytes[(end + 1)...])
      file = values["compressed"] == ["zstd"] ? try ZstdDecompressor().decompressAll(body, limit: 1 << 26) : body
    }

    func opened() throws -> [UInt8] {
      if let passphrase = values["passphrase"]?.first {
        // As where a file of identities is asked for its passphrase.
        return try AgeFile.open(values["armored"] == nil ? file : AgeFile.withoutArmor(file), passphrase: passphrase)
      }
      let identities = try (values["identity"] ?? []).map { try #require(AgeIdentity($0)) }
      return try AgeFile.open(values["armored"] == nil ? file : AgeFile.withoutArmor(file), with: identities)
    }
  }

  private static var paths: [FilePath] {
    get throws {
      let folder = FilePath(try #require(Bundle.module.resourcePath)).appending("Vectors")
      return try Folder.names(in: folder).sorted().map { folder.appending($0) }
    }
  }

  @Test func `opens, or is refused for the reason that the specification gives`() throws {
    var seen: [String: Int] = [:]
    for path in try Self.paths {
      let vector = try Vector(path)
      // Keys of another kind, which this has none of.
      if vector.values["identity"]?.contains(where: { $0.hasPrefix("AGE-SECRET-KEY-PQ-") }) == true { continue }
      let expected = try #require(vector.values["expect"]?.first)
      seen[expected, default: 0] += 1
      let result = Result { try vector.opened() }
      switch (expected, result) {
      case ("success", .success(let plain)):
        #expect(SHA256Digest(of: plain).description == vector.values["payload"]?.first, "\(vector.name)")
      case ("no match", .failure(AgeError.noMatchingIdentity)), ("no match", .failure(AgeError.wrongPassphrase)),
        ("HMAC failure", .failure(AgeError.malformed)), ("header failure", .failure(AgeError.malformed)),
        ("armor failure", .failure(AgeError.malformed)), ("payload failure", .failure(AgeError.damaged)):
        break
      default: Issue.record("\(vector.name): \(expected), and it was \(result)")
      }
    }
    #expect(seen == ["success": 21, "no match": 8, "HMAC failure": 1, "header failure": 53, "payload failure": 19, "armor failure": 22])
  }
}
