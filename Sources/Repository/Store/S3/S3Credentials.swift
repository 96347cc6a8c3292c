internal import Foundation
internal import Platform
internal import SystemPackage
internal import Transfer

/// A key for a server that speaks S3. Its secrets are never part of a text.
package struct S3Credentials: Sendable, Equatable {
  let keyID: String
  let secret: String
  let token: String?
  /// Nil if it does not end.
  let expires: Date?
}

/// Finds keys where AWS's own tools look: a command, the environment, the file of profiles, the machine's metadata.
package final class S3CredentialSource: Sendable {
  private let location: String
  private let profile: String?
  private let hasOwnProfile: Bool
  private let command: String?
  private let environment: [String: String]
  private let patience: Duration
  private let known = Monitor<S3Credentials?>(nil)

  /// - Parameters:
  ///   - command: prints a key as JSON, as AWS's `credential_process` does.
  ///   - patience: how long it may take.
  package init(for location: S3Location, command: String?, environment: [String: String], patience: Duration = .seconds(60)) {
    self.patience = patience
    self.location = location.text
    hasOwnProfile = location.profile != nil
    profile = location.profile ?? environment["AWS_PROFILE"]
    self.command = command
    self.environment = environment
  }

  /// The key to sign with now.
  /// - Throws: `StoreError.refused` if there is none.
  package func current() throws -> S3Credentials {
    // One thread looks, and the others wait for what it finds.
    try known.update { known in
      if let found = known, found.expires.map({ $0.timeIntervalSinceNow > 300 }) ?? true { return found }
      do { known = try find() } catch {
        // The old one is good for some minutes yet.
        guard let found = known, let end = found.expires, end.timeIntervalSinceNow > 0 else { throw error }
      }
      return known!
    }
  }

  /// Forgets a key that the server takes no more.
  func forget(_ key: S3Credentials) { known.update { if $0 == key { $0 = nil } } }

  private func find() throws -> S3Credentials {
    // A profile named in the location takes precedence.
    if let command, !hasOwnProfile { return try fromCommand(command) }
    if profile == nil, let keyID = environment["AWS_ACCESS_KEY_ID"], !keyID.isEmpty {
      guard let secret = environment["AWS_SECRET_ACCESS_KEY"], !secret.isEmpty else {
        throw refused("AWS_ACCESS_KEY_ID is set, and AWS_SECRET_ACCESS_KEY is not")
      }
      return S3Credentials(keyID: keyID, secret: secret, token: environment["AWS_SESSION_TOKEN"].flatMap { $0.isEmpty ? nil : $0 }, expires: nil)
    }
    if let found = try fromProfile() { return found }
    if environment["AWS_EC2_METADATA_DISABLED"]?.lowercased() != "true", let found = fromMetadata() { return found }
    throw refused("no key was found for \(location)")
  }

  private func refused(_ reason: String) -> StoreError {
    .refused(
      location: location, reason: reason,
      hint: "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, name a profile of ~/.aws/credentials, or configure credentials-command")
  }

  private struct Answer: Decodable {
    let AccessKeyId: String
    let SecretAccessKey: String
    /// `credential_process` calls it so, the machine's metadata `Token`.
    let SessionToken: String?
    let Token: String?
    let Expiration: String?

    var credentials: S3Credentials {
      // One whose end can't be read is asked for again each time.
      let expires = Expiration.map { S3Entry.seconds($0).map(Date.init(timeIntervalSince1970:)) ?? .distantPast }
      return S3Credentials(keyID: AccessKeyId, secret: SecretAccessKey, token: SessionToken ?? Token, expires: expires)
    }
  }

  private func fromCommand(_ command: String) throws -> S3Credentials {
    // Requests wait for it, and a dump holds its locks meanwhile.
    guard let result = try ProgramResult.run("/bin/sh", ["-c", command], environment: environment, within: patience) else {
      throw refused("credentials-command did not end within \(patience.components.seconds) s")
    }
    guard result.exitCode == 0 else { throw refused("credentials-command failed with exit code \(result.exitCode)") }
    guard let answer = try? JSONDecoder().decode(Answer.self, from: Data(result.output)) else {
      throw refused("credentials-command printed no JSON object with AccessKeyId and SecretAccessKey")
    }
    return answer.credentials
  }

  /// A section of `~/.aws/credentials`.
  private func fromProfile() throws -> S3Credentials? {
    let path =
      environment["AWS_SHARED_CREDENTIALS_FILE"].map { FilePath($0) } ?? environment["HOME"].map { FilePath($0).appending(".aws/credentials") }
    let name = profile ?? "default"
    guard let path, let bytes = try? Folder.contents(of: path, limit: 1 << 20) else {
      if profile != nil { throw refused("there is no file with a profile \(name)") }
      return nil
    }
    var values: [String: String] = [:]
    var isInside = false
    for line in String(decoding: bytes, as: UTF8.self).split(whereSeparator: \.isNewline) {
      let text = line.trimmingCharacters(in: .whitespaces)
      if text.hasPrefix("[") {
        isInside = text.dropFirst().prefix { $0 != "]" }.trimmingCharacters(in: .whitespaces) == name
      } else if isInside, !text.hasPrefix("#"), !text.hasPrefix(";"), let equals = text.firstIndex(of: "=") {
        values[text[..<equals].trimmingCharacters(in: .whitespaces)] = text[text.index(after: equals)...].trimmingCharacters(in: .whitespaces)
      }
    }
    guard let keyID = values["aws_access_key_id"], let secret = values["aws_secret_access_key"] else {
      if profile != nil { throw refused("\(path) has no key for a profile \(name)") }
      return nil
    }
    return S3Credentials(keyID: keyID, secret: secret, token: values["aws_session_token"], expires: nil)
  }

  /// Reads the credentials from AWS's instance metadata service (version 2, with a token).
  private func fromMetadata() -> S3Credentials? {
    let server = environment["AWS_EC2_METADATA_SERVICE_ENDPOINT"] ?? "http://169.254.169.254"
    func answer(_ method: String, _ path: String, _ headers: [(String, String)]) -> String? {
      var request = TransferRequest(method, server + path)
      request.headers = headers.map { (name: $0.0, value: $0.1) }
      request.connectTimeout = .seconds(1)
      guard let response = try? TransferEngine.shared.perform(request), response.status == 200 else { return nil }
      return String(decoding: response.body, as: UTF8.self)
    }
    guard let token = answer("PUT", "/latest/api/token", [("X-aws-ec2-metadata-token-ttl-seconds", "21600")]) else { return nil }
    let folder = "/latest/meta-data/iam/security-credentials/"
    let header = [("X-aws-ec2-metadata-token", token)]
    guard let role = answer("GET", folder, header)?.split(whereSeparator: \.isNewline).first, let text = answer("GET", folder + role, header) else {
      return nil
    }
    return (try? JSONDecoder().decode(Answer.self, from: Data(text.utf8)))?.credentials
  }
}
