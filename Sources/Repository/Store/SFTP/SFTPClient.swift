internal import Foundation
internal import Platform
internal import Transfer

/// Requests to one server of files, and what its answers mean.
final class SFTPClient: Sendable {
  let location: SFTPLocation
  private let retries: Retries
  private let hasAnswered = Monitor(false)

  /// How long what moves no bytes may take: libcurl itself watches over transfers alone.
  private static let patience: Duration = .seconds(120)

  init(_ location: SFTPLocation, retries: Retries) {
    self.location = location
    self.retries = retries
  }

  private func request(_ method: String, _ key: StoreKey) -> TransferRequest {
    var request = TransferRequest(method, location.url(key))
    request.login = .init(user: location.user, key: location.key, knownHosts: location.knownHosts)
    return request
  }

  /// - Parameters:
  ///   - prepare: completes the request.
  ///   - mayBeSent: throws if the request may not be sent any more. Called before each attempt, which then has to be
  ///     made soon.
  /// - Throws: `StoreError`; `SFTPRefusal` if the server refused.
  @discardableResult func answer(
    _ method: String, _ key: StoreKey, _ prepare: (inout TransferRequest) -> Void = { _ in }, mayBeSent: (@Sendable () throws -> Void)? = nil
  ) throws -> TransferResponse {
    var request = request(method, key)
    if method == "HEAD" { request.timeout = Self.patience }
    // A folder's listing, of which nothing may come for long.
    if method == "GET" && (key.isEmpty || key.hasSuffix("/")) { request.timeout = Self.patience * 5 }
    prepare(&request)
    // Half a minute for each MB is slow for any line, and yet an end.
    if request.timeout == nil { request.timeout = .seconds(300 + max(request.body.count, Int64(min(request.limit, 1 << 30))) / 30_000) }
    var retries = retries
    // A server that never answered may be the wrong one, so the error should come soon.
    if !hasAnswered.current { retries.attempts = min(3, retries.attempts) }
    do {
      let response = try retries.run { [request] in
        var request = request
        try request.permit(by: mayBeSent)
        return try perform(request)
      }
      hasAnswered.update { $0 = true }
      return response
    } catch let error as TransferError {
      if case .missing = error { hasAnswered.update { $0 = true } }
      // Cancelled because the whole process is to end.
      if error == .cancelled { try Interruption.check() }
      throw failure(error, key)
    }
  }

  private func perform(_ request: TransferRequest) throws -> TransferResponse {
    do { return try TransferEngine.shared.perform(request) } catch {
      switch error {
      case .missing(isCertain: false), .loginDenied:
        // After a broken connection, or a server that closed it during the login.
        var again = request
        again.wantsFreshConnection = true
        return try TransferEngine.shared.perform(again)
      case .interrupted where request.body.count > 0 && hasNoRoom(for: request.body.count): throw TransferError.full
      default: throw error
      }
    }
  }

  /// SFTP has no error code for a full disk, so the server is asked for its free space, if it supports that.
  private func hasNoRoom(for bytes: Int64) -> Bool {
    var request = request("HEAD", "")
    request.timeout = .seconds(20)
    request.commandsBefore = ["statvfs \(location.quotedFolder)"]
    guard let told = try? TransferEngine.shared.perform(request).headers, let free = told["f_bavail"].flatMap(Int64.init),
      let block = told["f_frsize"].flatMap(Int64.init), block > 0
    else { return false }
    return free <= (bytes / block) + 1
  }

  /// Has the server do what commands say.
  /// - Throws: as `answer`.
  func command(_ commands: [String], mayBeSent: (@Sendable () throws -> Void)? = nil) throws {
    // The folder is not looked at: commands come first.
    try answer("HEAD", "", { $0.commandsBefore = commands }, mayBeSent: mayBeSent)
  }

  private func failure(_ error: TransferError, _ key: StoreKey) -> any Error {
    let name = location.text
    func refused(_ reason: String, _ hint: String?) -> StoreError { .refused(location: name, reason: reason, hint: hint) }
    switch error {
    case .missing: return StoreError.missing(key)
    case .outOfRange: return StoreError.truncated(key)
    case .tooLarge: return StoreError.tooLarge(key)
    case .full: return StoreError.full(location: name)
    case .loginDenied(let reason):
      let hint =
        location.key.map { "is the public key of \($0) among the authorized_keys there? Keys under a passphrase come from an agent" }
        ?? "no key was found: name one with key=FILE in the location, or have an agent"
      if let problem = location.keyProblem { return refused("\(name) can't be logged in to: \(problem)", "name a private key with key=FILE") }
      return refused("\(name) does not let \(location.user) in: \(reason)", hint)
    case .untrusted(let reason):
      let parts = location.host.split(separator: ":")
      let host = parts.count == 2 ? "-p \(parts[1]) \(parts[0])" : location.host
      return refused(
        "the key of \(location.host) is not the one in \(location.knownHosts), or is not in it: \(reason)",
        "if you know the server: ssh-keyscan \(host) shows its keys; compare them, then add them to that file")
    case .denied(let reason): return StoreError.readOnly(location: name, reason: "the server denies it in \(name): \(reason)")
    case .refused(let reason) where reason.localizedCaseInsensitiveContains("permission denied"):
      return StoreError.readOnly(location: name, reason: "the server denies writing in \(name): \(reason)")
    case .refused(let reason) where reason.localizedCaseInsensitiveContains("read-only") || reason.localizedCaseInsensitiveContains("write protect"):
      return StoreError.readOnly(location: name, reason: "\(name) can't be written to: \(reason)")
    case .refused(let reason): return SFTPRefusal(reason: reason)
    case .unreachable(let reason), .interrupted(let reason):
      return StoreError.unreachable(location: name, reason: "\(name) can't be reached: \(reason)")
    case .cancelled: return StoreError.unreachable(location: name, reason: "\(name) did not answer in time")
    case .invalid(let reason), .unreadableFile(let reason): return StoreError.unreachable(location: name, reason: reason)
    }
  }
}

/// The server refused; or it succeeded and the connection broke before the answer: libcurl does not distinguish
/// these.
struct SFTPRefusal: Error {
  let reason: String
}
