internal import Digests
internal import Foundation
internal import Platform
internal import Transfer

/// Signed requests to one bucket, and what its answers mean.
final class S3Client: Sendable {
  struct Request: Sendable {
    let method: String
    /// Nil for the bucket itself.
    let key: StoreKey?
    var query: [(name: String, value: String)] = []
    var headers: [(name: String, value: String)] = []
    var body = TransferRequest.Body.none
    var digest = SHA256Digest(of: [])
    var limit = 1 << 20
    /// Throws if it may not be sent any more. Called before each attempt, which then has to be made soon.
    var mayBeSent: (@Sendable () throws -> Void)?

    init(_ method: String, _ key: StoreKey?) {
      self.method = method
      self.key = key
    }
  }

  let location: S3Location
  private let credentials: S3CredentialSource
  private let retries: Retries
  private let region: Monitor<String>
  private let hasAnswered = Monitor(false)

  init(_ location: S3Location, credentialsCommand: String?, environment: [String: String], retries: Retries) {
    self.location = location
    self.retries = retries
    credentials = S3CredentialSource(for: location, command: credentialsCommand, environment: environment)
    region = Monitor(location.region ?? "us-east-1")
  }

  /// The answer to a request, whatever its status.
  /// - Throws: `StoreError`.
  func answer(to request: Request) throws -> TransferResponse {
    var retries = retries
    // A server that never answered may be the wrong one, so the error should come soon.
    if !hasAnswered.current { retries.attempts = min(3, retries.attempts) }
    do {
      // The credentials of the last request.
      var used = Used()
      func ask() throws -> TransferResponse {
        try retries.run(isPassing: Self.isPassing) {
          used = Used(key: try credentials.current(), region: region.current)
          return try send(request, used)
        }
      }
      var response = try ask()
      hasAnswered.update { $0 = true }
      if try corrects(response, request, used) { response = try ask() }
      return response
    } catch let error as TransferError {
      // Cancelled because the whole process is to end.
      if error == .cancelled { try Interruption.check() }
      throw failure(error, request)
    }
  }

  private struct Used {
    var key = S3Credentials(keyID: "", secret: "", token: nil, expires: nil)
    var region = ""
  }

  /// Whether an answer means a temporary fault, though its status does not say so.
  static func isPassing(_ response: TransferResponse) -> Bool {
    // A copy within the server can fail after status 200 was sent.
    let isSuccess = response.status == 200 && response.body.count < 1 << 14 && response.body.first == UInt8(ascii: "<")
    guard isSuccess || response.status == 400 || response.status == 409, let document = S3Document(response.body) else { return false }
    return (!isSuccess || document.name == "Error") && passingCodes.contains(document.first("Code") ?? "")
  }

  static let passingCodes: Set = [
    "RequestTimeout", "IncompleteBody", "BadDigest", "OperationAborted", "XAmzContentSHA256Mismatch", "InternalError", "SlowDown",
    "ServiceUnavailable",
  ]

  private func send(_ request: Request, _ used: Used) throws -> TransferResponse {
    let (key, region) = (used.key, used.region)
    var transfer = TransferRequest(request.method, location.url(request.key, query: request.query, region: region))
    transfer.headers = request.headers + [("x-amz-content-sha256", "\(request.digest)")]
    if let token = key.token { transfer.headers.append(("x-amz-security-token", token)) }
    transfer.body = request.body
    transfer.limit = max(request.limit, 1 << 16)
    transfer.signing = .init(region: region, service: "s3", keyID: key.keyID, secret: key.secret)
    transfer.authorities = location.authorities
    try transfer.permit(by: request.mayBeSent)
    return try TransferEngine.shared.perform(transfer)
  }

  /// Adapts the region or the key to an answer.
  /// - Returns: whether to repeat the request.
  private func corrects(_ response: TransferResponse, _ request: Request, _ used: Used) throws -> Bool {
    guard response.status >= 300, ![404, 409, 412, 416].contains(response.status) else { return false }
    let document = S3Document(response.body)
    let code = document?.first("Code") ?? ""
    // The answer to HEAD has no body.
    let mayHaveExpired = request.method == "HEAD" && used.key.token != nil && (response.status == 400 || response.status == 403)
    if code == "ExpiredToken" || code == "ExpiredTokenException" || mayHaveExpired {
      credentials.forget(used.key)
      return try credentials.current() != used.key
    }
    guard let named = document?.first("Region") ?? response.headers["x-amz-bucket-region"], !named.isEmpty, named != used.region else {
      return false
    }
    region.update { $0 = named }
    return true
  }

  // MARK: What went wrong

  private func failure(_ error: TransferError, _ request: Request) -> StoreError {
    switch error {
    case .tooLarge: .tooLarge(request.key ?? "")
    case .unreachable(let reason), .interrupted(let reason):
      .unreachable(location: location.text, reason: "\(location.text) can't be reached: \(reason)")
    case .untrusted(let reason):
      .refused(
        location: location.text, reason: "its certificate is not to be trusted: \(reason)",
        hint: "name the authority's file with ca=FILE in the location")
    case .cancelled: .unreachable(location: location.text, reason: "\(location.text) did not answer in time")
    case .invalid(let reason), .unreadableFile(let reason), .denied(let reason), .loginDenied(let reason), .refused(let reason):
      .unreachable(location: location.text, reason: reason)
    case .missing: .missing(request.key ?? "")
    case .full: .full(location: location.text)
    case .outOfRange: .truncated(request.key ?? "")
    }
  }

  /// The error for an unsuccessful answer.
  func failure(_ response: TransferResponse, _ request: Request) -> StoreError {
    let document = S3Document(response.body)
    let code = document?.first("Code") ?? ""
    func refused(_ reason: String, _ hint: String?) -> StoreError { .refused(location: location.text, reason: reason, hint: hint) }
    switch (code, response.status) {
    case ("NoSuchBucket", _): return refused("there is no bucket \(location.bucket)", "make it, or correct the location")
    case ("NoSuchKey", _): return .missing(request.key ?? "")
    case ("InvalidRange", _), (_, 416): return .truncated(request.key ?? "")
    case ("InvalidAccessKeyId", _): return refused("the server does not know the key", "check AWS_ACCESS_KEY_ID or the profile")
    case ("SignatureDoesNotMatch", _): return refused("the secret does not match the key", "check AWS_SECRET_ACCESS_KEY or the profile")
    case ("ExpiredToken", _), ("ExpiredTokenException", _), ("TokenRefreshRequired", _):
      return refused("the key has expired", "get a new session, or configure credentials-command")
    case ("RequestTimeTooSkewed", _): return refused("this machine's clock differs from the server's\(skew(response))", "set the clock")
    case ("QuotaExceeded", _), ("XMinioStorageFull", _), (_, 507): return .full(location: location.text)
    case ("AccessDenied", _), (_, 401), (_, 403):
      let reason = "the server denies \(Self.right(request.method)) in \(location.text)" + (document?.first("Message").map { ": \($0)" } ?? "")
      if ["PUT", "POST", "DELETE"].contains(request.method) { return .readOnly(location: location.text, reason: reason) }
      return refused(reason, "check the key's rights on the bucket")
    case (_, 404): return .missing(request.key ?? "")
    case (_, 301), (_, 307), (_, 308): return refused("the bucket is in another region", "name its region, or its endpoint")
    default:
      let words = document?.first("Message").map { ": \($0)" } ?? ""
      return .unreachable(location: location.text, reason: "\(location.text) answered \(response.status) \(code)\(words)")
    }
  }

  private static func right(_ method: String) -> String {
    switch method {
    case "PUT": "writing"
    case "DELETE", "POST": "deleting"
    default: "reading"
    }
  }

  private func skew(_ response: TransferResponse) -> String {
    guard let date = response.headers["date"] else { return "" }
    return " (there it is \(date))"
  }
}
