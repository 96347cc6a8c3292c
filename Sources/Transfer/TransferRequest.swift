package import SystemPackage

/// One request to a server.
package struct TransferRequest: Sendable {
  package enum Body: Sendable {
    case none
    case bytes([UInt8])
    /// A file of this machine, with its length.
    case file(FilePath, count: Int64)

    var count: Int64 {
      switch self {
      case .none: 0
      case .bytes(let bytes): Int64(bytes.count)
      case .file(_, let count): count
      }
    }
  }

  /// A signature of AWS's version 4, which libcurl makes.
  package struct Signing: Sendable {
    package let region: String
    package let service: String
    package let keyID: String
    package let secret: String

    package init(region: String, service: String, keyID: String, secret: String) {
      self.region = region
      self.service = service
      self.keyID = keyID
      self.secret = secret
    }
  }

  /// `GET`, `HEAD`, `PUT`, `POST` or `DELETE`.
  package var method: String
  package var url: String
  package var headers: [(name: String, value: String)] = []
  package var body = Body.none
  /// Bytes of an answer's body; one that is longer is an error.
  package var limit = 1 << 20
  package var signing: Signing?
  /// Certificates to trust instead of the system's.
  package var authorities: FilePath?
  package var connectTimeout: Duration = .seconds(20)

  package init(_ method: String, _ url: String) {
    self.method = method
    self.url = url
  }
}

/// What a server answered.
package struct TransferResponse: Sendable {
  package let status: Int
  /// Names in small letters.
  package let headers: [String: String]
  package let body: [UInt8]
  /// How often it was asked for.
  package var attempts = 1

  package init(status: Int, headers: [String: String], body: [UInt8]) {
    self.status = status
    self.headers = headers
    self.body = body
  }
}

/// Why there is no answer, as far as callers tell it apart.
package enum TransferError: Error, Equatable {
  /// The server's name, address or port can't be reached.
  case unreachable(reason: String)
  /// The server's certificate is not one to trust.
  case untrusted(reason: String)
  /// The connection broke, or nothing came for too long.
  case interrupted(reason: String)
  case tooLarge
  case cancelled
  /// What libcurl refuses to begin.
  case invalid(reason: String)
  /// A file to be sent can't be read.
  case unreadableFile(reason: String)
}
