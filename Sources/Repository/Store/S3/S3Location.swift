internal import Foundation
package import SystemPackage

/// Where a store lies on a server that speaks S3, as users write it:
/// `s3://BUCKET/PREFIX?endpoint=URL&region=R&profile=P&style=path|virtual&storage-class=C&ca=FILE`.
package struct S3Location: Sendable, Equatable {
  package enum Style: String, Sendable {
    /// The bucket is the first part of the path.
    case path
    /// It is a part of the server's name.
    case virtual
  }

  package let bucket: String
  /// Empty, or ends in `/`.
  package let prefix: String
  /// Without a `/` at its end; nil for AWS's own.
  package let endpoint: String?
  /// Nil if none was given.
  package let region: String?
  package let profile: String?
  package let style: Style
  package let storageClass: String?
  /// Certificates to trust instead of the system's.
  package let authorities: FilePath?

  /// The location as users write it, without parameters that do not locate anything.
  package var text: String { "s3://\(bucket)/\(prefix.dropLast())" + (endpoint.map { "?endpoint=\($0)" } ?? "") }

  private static let parameters = ["endpoint", "region", "profile", "style", "storage-class", "ca"]

  /// - Parameter environment: AWS's variables, for what the location leaves open.
  /// - Throws: `StoreError.badLocation`.
  package init(_ text: String, environment: [String: String]) throws {
    // Others write keys before the bucket: what is no location of ours may hold one.
    func bad(_ reason: String) -> StoreError {
      let shown = text.prefix { $0 != "?" }
      return .badLocation(location: shown.lastIndex(of: "@").map { "s3://…\(shown[$0...])" } ?? String(shown), reason: reason)
    }
    guard text.hasPrefix("s3://") else { throw bad("it does not begin with s3://") }
    let parts = text.dropFirst(5).split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
    let path = parts[0].split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    bucket = String(path[0])
    guard bucket.count >= 3, bucket.utf8.allSatisfy({ URLText.isPlain($0) && $0 != UInt8(ascii: "~") }) else {
      if text.contains("@") { throw bad("a name or password has no place in it: keys come from AWS_ACCESS_KEY_ID or a profile") }
      throw bad("\(bucket.isEmpty ? "it names no bucket" : "a bucket's name has 3 letters at least, all of them plain"); write s3://BUCKET/PREFIX")
    }
    let folders = (path.count > 1 ? path[1] : "").split(separator: "/", omittingEmptySubsequences: false)
    let named = folders.drop { $0.isEmpty }.reversed().drop { $0.isEmpty }.reversed()
    guard named.allSatisfy({ !$0.isEmpty && $0 != "." && $0 != ".." }) else { throw bad("its prefix has a part without a name") }
    prefix = named.isEmpty ? "" : named.joined(separator: "/") + "/"
    let values: [String: String]
    do { values = try URLText.parameters(in: parts.count > 1 ? parts[1] : "", known: Self.parameters) } catch { throw bad(error.reason) }
    let endpoint = values["endpoint"] ?? environment["AWS_ENDPOINT_URL_S3"] ?? environment["AWS_ENDPOINT_URL"]
    self.endpoint = endpoint.map { $0.hasSuffix("/") ? String($0.dropLast()) : $0 }
    if let endpoint, !endpoint.hasPrefix("http://"), !endpoint.hasPrefix("https://") { throw bad("its endpoint is no http:// or https:// URL") }
    if let endpoint, endpoint.contains(where: { "?#".contains($0) }) { throw bad("its endpoint has a query, which no server of S3 takes") }
    if let endpoint, endpoint.contains("@") {
      throw bad("a name or password has no place in its endpoint: keys come from AWS_ACCESS_KEY_ID or a profile")
    }
    region = values["region"] ?? environment["AWS_REGION"] ?? environment["AWS_DEFAULT_REGION"]
    profile = values["profile"]
    if let style = values["style"] {
      guard let known = Style(rawValue: style) else { throw bad("style is path or virtual") }
      self.style = known
    } else {
      // A certificate of AWS's is good for one name before theirs.
      style = endpoint == nil && !bucket.contains(".") ? .virtual : .path
    }
    storageClass = values["storage-class"]
    authorities = values["ca"].map { FilePath($0) }
  }

  /// The URL of a key, or of the bucket where `key` is nil.
  /// - Parameter query: in the order of names.
  func url(_ key: StoreKey?, query: [(name: String, value: String)], region: String) -> String {
    let server = endpoint ?? "https://s3.\(region).amazonaws.com"
    let scheme = server.hasPrefix("https://") ? "https://" : "http://"
    let host = server.dropFirst(scheme.count)
    let path = key.map { URLText.encoded(path: prefix + $0) } ?? ""
    let base = style == .virtual ? "\(scheme)\(bucket).\(host)/\(path)" : "\(scheme)\(host)/\(bucket)/\(path)"
    if query.isEmpty { return base }
    return base + "?" + query.map { "\(URLText.encoded($0.name))=\(URLText.encoded($0.value))" }.joined(separator: "&")
  }
}
