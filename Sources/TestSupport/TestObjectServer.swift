internal import Foundation
internal import Platform
internal import SystemPackage
internal import Transfer

/// A server on loopback that speaks S3 and wants signatures: SeaweedFS. It ends with this process.
package final class TestObjectServer: Sendable {
  package static let keyID = "firnkey"
  /// With letters that a URL or a signature could get wrong.
  package static let secret = "firn/secret+1="
  /// A key that may only read.
  package static let readerKeyID = "readerkey"

  /// The server that tests share: each makes buckets of its own in it.
  package static let shared = Result { try TestObjectServer() }

  package let port: Int
  private let ports: [Int]
  private let folder: TemporaryFolder
  private let process = Monitor<ServerProcess?>(nil)

  package init() throws {
    folder = try TemporaryFolder()
    // Each has a second one, for the parts of the server among themselves, that is higher by 10000: that, too, must stay free.
    ports = try (0..<4).map { _ in try Loopback.freePort(in: 20000..<22700) }
    port = ports[3]
    let identities = [
      ["name": "firn", "credentials": [["accessKey": Self.keyID, "secretKey": Self.secret]], "actions": ["Admin", "Read", "Write", "List"]],
      ["name": "reader", "credentials": [["accessKey": Self.readerKeyID, "secretKey": Self.secret]], "actions": ["Read", "List"]],
    ]
    let text = String(decoding: try JSONSerialization.data(withJSONObject: ["identities": identities]), as: UTF8.self)
    try folder.write(text, to: "identities.json")
    try Folder.make(folder.path("data"))
    try start()
  }

  /// Starts it if it was ended, and waits until it answers.
  package func start() throws {
    guard let program = ProcessInfo.processInfo.environment["FIRN_TEST_WEED"], !program.isEmpty else {
      throw Unavailable("no SeaweedFS was named: run the tests by scripts/test")
    }
    let started = try ServerProcess(
      "/usr/bin/setpriv",
      [
        "--pdeathsig", "KILL", program, "server", "-dir=\(folder.path("data"))", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-master.port=\(ports[0])",
        "-volume.port=\(ports[1])", "-filer", "-filer.port=\(ports[2])", "-s3", "-s3.port=\(port)", "-s3.port.iceberg=0", "-s3.port.lance=0",
        "-master.telemetry=false",
        "-s3.config=\(folder.path("identities.json"))", "-master.volumeSizeLimitMB=64", "-volume.max=100", "-volume.preStopSeconds=0",
      ], environment: ["HOME": folder.path.string])
    process.update { $0 = started }
    let deadline = ContinuousClock.now + .seconds(60)
    while (try? TransferEngine.shared.perform(signed("GET", "")))?.status != 200 {
      guard started.isAlive, ContinuousClock.now < deadline else {
        throw Unavailable("SeaweedFS did not start: \(started.messages.suffix(5).joined(separator: " "))")
      }
      Thread.sleep(forTimeInterval: 0.1)
    }
  }

  /// Ends it at once, as a crash would.
  package func crash() { process.current?.end(by: 9) }

  private func signed(_ method: String, _ path: String) -> TransferRequest {
    var request = TransferRequest(method, "http://127.0.0.1:\(port)/\(path)")
    request.signing = .init(region: "us-east-1", service: "s3", keyID: Self.keyID, secret: Self.secret)
    // The hash of zero bytes.
    request.headers = [("x-amz-content-sha256", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")]
    return request
  }

  /// Makes a bucket with a name of its own.
  package func makeBucket() throws -> String {
    let name = "bucket-\(UUID().uuidString.prefix(8).lowercased())"
    for _ in 0..<50 {
      // A server that just started may have no place for it yet.
      if try TransferEngine.shared.perform(signed("PUT", name)).status == 200 { return name }
      Thread.sleep(forTimeInterval: 0.1)
    }
    throw Unavailable("SeaweedFS makes no bucket")
  }

  /// A location as users write it.
  package func location(_ bucket: String, prefix: String = "firn") -> String {
    "s3://\(bucket)/\(prefix)?endpoint=http://127.0.0.1:\(port)"
  }

  /// What AWS's tools take from the environment.
  package static func environment(keyID: String = TestObjectServer.keyID) -> [String: String] {
    ["AWS_ACCESS_KEY_ID": keyID, "AWS_SECRET_ACCESS_KEY": secret]
  }
}
