internal import Foundation
internal import Platform
internal import Transfer

/// Requests to one server of files, and what its answers mean.
final class SFTPClient: Sendable {
  let location: SFTPLocation
  private let retries: Retries
  private let hasAnswered = Monitor(false)

  init(_ location: SFTPLocation, retries: Retries) {
    self.location = location
    self.retries = retries
  }

  private func request(_ method: String, _ key: StoreKey) -> TransferRequest {
    var request = TransferRequest(method, location.url(key))
    request.login = .init(user: location.user, key: location.key, knownHosts: location.knownHosts)
    return request
  }

  /// - Parameter prepare: changes the request to what is wanted.
  /// - Throws: `StoreError`; `SFTPRefusal` where the server did not do as it was told.
  @discardableResult func answer(_ method: String, _ key: StoreKey, _ prepare: (inout TransferRequest) -> Void = { _ in }) throws -> TransferResponse
  {
    var request = request(method, key)
    prepare(&request)
    var retries = retries
    // A server that never answered may be the wrong one: that should be told soon.
    if !hasAnswered.current { retries.attempts = min(3, retries.attempts) }
    var attempt = 0
    do {
      let response = try retries.run {
        attempt += 1
        return try TransferEngine.shared.perform(request)
      }
      hasAnswered.update { $0 = true }
      return response
    } catch let error as TransferError {
      if case .missing = error { hasAnswered.update { $0 = true } }
      throw failure(error, key, method, attempt)
    }
  }

  /// Has the server do what commands say.
  /// - Throws: as `answer`.
  func command(_ commands: [String]) throws {
    // The folder is not looked at: commands come first.
    try answer("HEAD", "") { $0.commandsBefore = commands }
  }

  private func failure(_ error: TransferError, _ key: StoreKey, _ method: String, _ attempt: Int) -> any Error {
    let name = location.text
    func refused(_ reason: String, _ hint: String?) -> StoreError { .refused(location: name, reason: reason, hint: hint) }
    switch error {
    case .missing: return StoreError.missing(key)
    case .tooLarge: return StoreError.tooLarge(key)
    case .full: return StoreError.full(location: name)
    case .loginDenied(let reason):
      return refused(
        "\(name) does not let \(location.user) in: \(reason)",
        location.key.map { "is the public key of \($0) among the authorized_keys there? Keys under a passphrase come from an agent" }
          ?? "no key was found: name one with key=FILE in the location, or have an agent")
    case .untrusted(let reason):
      return refused(
        "the key of \(location.host) is not the one in \(location.knownHosts), or is not in it: \(reason)",
        "if you know the server: ssh-keyscan \(location.host) shows its keys; compare them, then add them to that file")
    case .denied(let reason): return StoreError.readOnly(location: name, reason: "the server denies it in \(name): \(reason)")
    case .refused(let reason) where reason.localizedCaseInsensitiveContains("permission denied"):
      return StoreError.readOnly(location: name, reason: "the server denies writing in \(name): \(reason)")
    case .refused(let reason) where reason.localizedCaseInsensitiveContains("read-only") || reason.localizedCaseInsensitiveContains("write protect"):
      return StoreError.readOnly(location: name, reason: "\(name) can't be written to: \(reason)")
    case .refused(let reason): return SFTPRefusal(reason: reason, mayBeDone: attempt > 1)
    case .unreachable(let reason), .interrupted(let reason):
      return StoreError.unreachable(location: name, reason: "\(name) can't be reached: \(reason)")
    case .cancelled: return StoreError.unreachable(location: name, reason: "\(name) did not answer in time")
    case .invalid(let reason), .unreadableFile(let reason): return StoreError.unreachable(location: name, reason: reason)
    }
  }
}

/// The server did not do as it was told; why, SFTP's version 3 has few words for.
struct SFTPRefusal: Error {
  let reason: String
  /// Whether an earlier try, the answer to which was lost, may have done it.
  let mayBeDone: Bool
}
