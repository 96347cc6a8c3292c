package import SystemPackage

/// One request to a server.
package struct TransferRequest: Sendable {
  package enum Body: Sendable {
    case none
    case bytes([UInt8])
    /// A file of this machine, with its length.
    case file(FilePath, count: Int64)

    package var count: Int64 {
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

  /// The login for a file server (SFTP).
  package struct Login: Sendable {
    package let user: String
    /// Nil for the keys of an agent.
    package let key: FilePath?
    /// The keys of servers that are trusted; others are not.
    package let knownHosts: FilePath

    package init(user: String, key: FilePath?, knownHosts: FilePath) {
      self.user = user
      self.key = key
      self.knownHosts = knownHosts
    }
  }

  /// `GET`, `HEAD`, `PUT`, `POST` or `DELETE`; of a file server the first three.
  package var method: String
  package var url: String
  package var headers: [(name: String, value: String)] = []
  package var body = Body.none
  /// Bytes of an answer's body; one that is longer is an error.
  package var limit = 1 << 20
  package var signing: Signing?
  package var login: Login?
  /// Part of a file server's file.
  package var range: ClosedRange<Int64>?
  /// Commands to a file server before the transfer, each of which must succeed unless it begins with `*`.
  package var commandsBefore: [String] = []
  /// Commands after a successful transfer.
  package var commandsAfter: [String] = []
  /// Whether a file server is asked when its file was written.
  package var asksForTime = false
  /// When it may not begin or go on any more, whatever kept it, be it that this machine stood still.
  package var end: ContinuousClock.Instant?
  /// How long all of it may take; without it a transfer may take as long as something comes.
  package var timeout: Duration?
  /// Whether a connection that was kept is not good enough.
  package var wantsFreshConnection = false
  /// Whether what is sent comes after what a file server's file has.
  package var appends = false
  /// Certificates to trust instead of the system's.
  package var authorities: FilePath?
  package var connectTimeout: Duration = .seconds(20)

  package init(_ method: String, _ url: String) {
    self.method = method
    self.url = url
  }

  /// How long what was permitted may be under way.
  private static let longestDoubt: Duration = .seconds(300)

  /// Asks whether it may be sent now; then it has to come about soon. Nil permits it for good.
  package mutating func permit(by mayBeSent: (() throws -> Void)?) throws {
    guard let mayBeSent else { return }
    try mayBeSent()
    end = .now + Self.longestDoubt
  }
}

/// A server's answer.
package struct TransferResponse: Sendable {
  package let status: Int
  /// Names in small letters.
  package let headers: [String: String]
  package let body: [UInt8]
  /// The length of a file server's file, in bytes.
  package var size: Int64?
  /// When a file server's file was written, in seconds since 1970 by its clock.
  package var modified: Int64?
  /// How often it was asked for.
  package var attempts = 1

  package init(status: Int, headers: [String: String], body: [UInt8]) {
    self.status = status
    self.headers = headers
    self.body = body
  }
}
